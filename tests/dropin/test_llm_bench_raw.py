"""Answers that llm_bench reads itself."""

import json

import pytest

from vllmperf.dropin.llm_bench.arguments import parse
from vllmperf.dropin.llm_bench.raw import UnreadableError, read


def options(words="", profile="2024-10"):
    return parse(["--profile", profile, *words.split()])


def events(*objects):
    return [json.dumps(o) for o in objects]


def choice(**fields):
    return {"choices": [{"index": 0, **fields}]}


def test_a_stream_of_tgi_has_a_token_an_event():
    found = read(
        "tgi", options(), events({"token": {"text": ""}}, {"token": {"text": " a"}}, {"token": {"text": "b"}})
    )
    assert (found.text, found.first, found.tokens, found.prompt_tokens) == (" ab", 1, 3, None)


def test_a_plain_answer_of_tgi_tells_tokens_in_its_details():
    answer = {"generated_text": "ab", "details": {"generated_tokens": 2, "tokens": [{}, {}]}}
    assert read("tgi", options("--no-stream"), events(answer)).tokens == 2
    assert read("tgi", options("--no-stream"), events({"generated_text": "ab"})).tokens is None


def test_tokens_are_those_with_log_probabilities_before_usage():
    stream = events(
        choice(text="a b", logprobs={"tokens": ["a", " b"]}),
        choice(text=" c", logprobs={"tokens": [" c"]}),
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}},
    )
    found = read("vllm", options("--logprobs 1"), [*stream, "[DONE]"])
    assert (found.text, found.tokens, found.prompt_tokens) == ("a b c", 3, 7)


def test_chat_lists_its_log_probabilities_elsewhere():
    stream = events(
        choice(delta={"role": "assistant", "content": ""}, logprobs=None),
        choice(delta={"content": "a"}, logprobs={"content": [{}, {}]}),
    )
    found = read("vllm", options("--chat --logprobs 1"), stream)
    assert (found.text, found.first, found.tokens) == ("a", 1, 2)


def test_reasoning_is_text_in_the_newer_version_alone():
    stream = events(choice(delta={"reasoning_content": "hm"}), choice(delta={"content": "a"}))
    assert read("vllm", options("--chat"), stream).text == "a"
    assert read("vllm", options("", "2026-06"), stream).text == "hma"


def test_a_plain_answer_of_together_is_wrapped():
    answer = {"output": {**choice(text="ab"), "usage": {"prompt_tokens": 1, "completion_tokens": 2}}}
    found = read("together", options("--no-stream"), events(answer))
    assert (found.text, found.tokens, found.prompt_tokens) == ("ab", 2, 1)


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ("no json", "JSONDecodeError"),
        ('{"text": 1}', "KeyError"),
        ('{"error": "overloaded"}', "overloaded"),
        ('{"choices": [{}, {}]}', "Too many choices 2"),
        ("[1]", "AttributeError"),
    ],
)
def test_an_event_that_makes_no_sense_is_named(event, named):
    with pytest.raises(UnreadableError, match=named):
        read("vllm", options("--logprobs 1"), [event])
