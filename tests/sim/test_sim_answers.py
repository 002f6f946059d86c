"""What the simulated model says: how many tokens, which, with what around them."""

from __future__ import annotations

import json
import statistics

import pytest
from wire import ask, chat, complete

from vllmperf.sim import Server

USAGE = {"stream_options": {"include_usage": True}}


def texts(reply: object, choice: int = 0) -> list[str]:
    picked = [e["choices"][0] for e in reply.tokens if e["choices"][0]["index"] == choice]  # type: ignore[attr-defined]
    return [c["text"] if "text" in c else c["delta"]["content"] for c in picked]


def test_a_completion_without_a_limit_has_sixteen_tokens(fast: Server) -> None:
    assert len(complete(fast.port, max_tokens=None).tokens) == 16


def test_a_chat_without_a_limit_has_as_many_tokens_as_set() -> None:
    with Server(ttft_ms=0, itl_ms=0, chat_max_tokens=7) as server:
        assert len(chat(server.port, max_tokens=None).tokens) == 7


def test_max_completion_tokens_limits_a_chat(fast: Server) -> None:
    assert len(chat(fast.port, max_tokens=None, max_completion_tokens=3).tokens) == 3


def test_the_answer_is_cut_at_the_models_length() -> None:
    with Server(ttft_ms=0, itl_ms=0, max_model_len=20) as server:
        reply = complete(server.port, prompt=[5] * 15, max_tokens=100, **USAGE)
        assert reply.events[-1]["usage"] == {"prompt_tokens": 15, "total_tokens": 20, "completion_tokens": 5}


def test_only_the_last_token_has_a_finish_reason(fast: Server) -> None:
    reasons = [e["choices"][0]["finish_reason"] for e in complete(fast.port, max_tokens=4).tokens]
    assert reasons == [None, None, None, "length"]


def test_a_chat_begins_with_its_role(fast: Server) -> None:
    reply = chat(fast.port)
    assert reply.events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(reply.tokens) == 6


@pytest.mark.parametrize("api", [complete, chat])
def test_a_stream_and_a_body_hold_the_same_text_for_the_same_request_number(api: object) -> None:
    answers = []
    for stream in (True, False):
        with Server(ttft_ms=0, itl_ms=0, seed=3) as server:
            answers.append(api(server.port, stream=stream))  # type: ignore[operator]
    choice = answers[1].json["choices"][0]
    assert "".join(texts(answers[0])) == (
        choice["text"] if "text" in choice else choice["message"]["content"]
    )


def test_texts_differ_between_requests_and_seeds() -> None:
    seen = set()
    for seed in (1, 2):
        with Server(ttft_ms=0, itl_ms=0, seed=seed) as server:
            seen |= {"".join(texts(complete(server.port))) for _ in range(2)}
    assert len(seen) == 4


def test_n_gives_so_many_choices_each_with_all_its_tokens(fast: Server) -> None:
    reply = complete(fast.port, n=3, max_tokens=4, **USAGE)
    assert [len(texts(reply, i)) for i in range(3)] == [4, 4, 4]
    assert reply.events[-1]["usage"]["completion_tokens"] == 12
    assert len({"".join(texts(reply, i)) for i in range(3)}) == 3
    body = complete(fast.port, n=3, stream=False).json
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]


def test_each_of_several_prompts_gets_its_choices(fast: Server) -> None:
    reply = complete(fast.port, prompt=["one two", "three"], n=2, max_tokens=2, **USAGE)
    assert sorted({e["choices"][0]["index"] for e in reply.tokens}) == [0, 1, 2, 3]
    assert reply.events[-1]["usage"] == {"prompt_tokens": 3, "total_tokens": 11, "completion_tokens": 8}


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("one", 1),
        ("  one\ttwo\n three ", 3),
        ('quoted "words" and \\ back', 5),
        ("   ", 1),
        ([7, 8, 9], 3),
        ([[1, 2], [3]], 3),
        (["one two", "three"], 3),
    ],
)
def test_prompt_tokens_are_words_or_ids(fast: Server, prompt: object, tokens: int) -> None:
    assert complete(fast.port, prompt=prompt, stream=False).json["usage"]["prompt_tokens"] == tokens


def test_a_chat_counts_four_tokens_a_message_and_three_more(fast: Server) -> None:
    messages = [
        {"role": "system", "content": "a b"},
        {"role": "user", "content": [{"type": "text", "text": "c"}]},
    ]
    assert chat(fast.port, messages=messages, stream=False).json["usage"]["prompt_tokens"] == 3 + 2 * 4 + 3


def test_the_text_it_says_has_as_many_tokens_as_it_counts(fast: Server) -> None:
    text = complete(fast.port, max_tokens=40, stream=False).json["choices"][0]["text"]
    assert ask(fast.port, "POST", "/tokenize", {"prompt": text}).json["count"] == 40


def test_token_ids_are_those_of_the_text(fast: Server) -> None:
    reply = complete(fast.port, return_token_ids=True, prompt=[4, 5])
    assert reply.tokens[0]["choices"][0]["prompt_token_ids"] == [4, 5]
    assert reply.tokens[1]["choices"][0]["prompt_token_ids"] is None
    ids = [i for e in reply.tokens for i in e["choices"][0]["token_ids"]]
    text = "".join(texts(reply))
    assert ask(fast.port, "POST", "/detokenize", {"tokens": ids}).json["prompt"] == text
    assert ask(fast.port, "POST", "/tokenize", {"prompt": text}).json["tokens"] == ids


def test_without_asking_there_is_no_usage(fast: Server) -> None:
    assert not any("usage" in event for event in complete(fast.port).events)
    # As vLLM: usage in every event only together with the one at the end.
    reply = complete(fast.port, stream_options={"continuous_usage_stats": True})
    assert not any("usage" in event for event in reply.events)


def test_continuous_usage_counts_up(fast: Server) -> None:
    reply = complete(fast.port, stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert [e["usage"]["completion_tokens"] for e in reply.events] == [1, 2, 3, 4, 5, 6, 6]


def test_tokens_per_chunk_puts_several_into_one_event() -> None:
    with Server(ttft_ms=0, itl_ms=0, tokens_per_chunk=4) as server:
        reply = complete(server.port, max_tokens=10, return_token_ids=True, **USAGE)
    assert [len(e["choices"][0]["token_ids"]) for e in reply.tokens] == [4, 4, 2]
    assert reply.events[-1]["usage"]["completion_tokens"] == 10


def test_logprobs_of_a_completion_fit_its_tokens(fast: Server) -> None:
    events = complete(fast.port, logprobs=3).tokens
    offset = 0
    for event in events:
        choice = event["choices"][0]
        logprobs = choice["logprobs"]
        assert logprobs["tokens"] == [choice["text"]]
        assert logprobs["text_offset"] == [offset]
        assert len(logprobs["top_logprobs"][0]) == 3
        assert logprobs["top_logprobs"][0][choice["text"]] == logprobs["token_logprobs"][0] < 0
        offset += len(choice["text"])


def test_logprobs_of_a_chat_fit_its_tokens(fast: Server) -> None:
    for event in chat(fast.port, logprobs=True, top_logprobs=2).tokens:
        choice = event["choices"][0]
        (token,) = choice["logprobs"]["content"]
        assert token["token"] == choice["delta"]["content"]
        assert bytes(token["bytes"]).decode() == token["token"]
        assert len(token["top_logprobs"]) == 2


def test_echo_puts_the_prompt_before_the_answer(fast: Server) -> None:
    prompt = 'say "so"\nnow'
    assert texts(complete(fast.port, prompt=prompt, echo=True))[0].startswith(prompt + " ")
    assert (
        complete(fast.port, prompt=prompt, echo=True, stream=False)
        .json["choices"][0]["text"]
        .startswith(prompt)
    )


def test_texts_end_by_themselves_with_the_mean_asked_for() -> None:
    with Server(ttft_ms=0, itl_ms=0, eos_mean=8) as server:
        replies = [complete(server.port, max_tokens=200, return_token_ids=True) for _ in range(200)]
    lengths = [len(reply.tokens) for reply in replies]
    assert 6 < statistics.mean(lengths) < 10
    last = replies[0].tokens[-1]["choices"][0]
    assert (last["finish_reason"], last["text"], last["token_ids"]) == ("stop", "", [2])


def test_ignore_eos_and_min_tokens_are_obeyed() -> None:
    with Server(ttft_ms=0, itl_ms=0, eos_mean=2) as server:
        assert all(len(complete(server.port, max_tokens=30, ignore_eos=True).tokens) == 30 for _ in range(5))
        assert all(len(complete(server.port, max_tokens=30, min_tokens=20).tokens) > 20 for _ in range(5))


def test_unknown_fields_and_nulls_are_accepted(fast: Server) -> None:
    reply = complete(
        fast.port, no_such_field={"a": [1, {"b": None}]}, stop=None, n=None, temperature=None, top_p=0.5
    )
    assert reply.status == 200


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": [1]}, 400, "body.max_tokens"),
        ({"max_tokens": 1.5}, 400, "body.max_tokens"),
        ({"n": 0}, 400, "n"),
        ({"n": 5000}, 400, "n"),
        ({"stream": "perhaps"}, 400, "body.stream"),
        ({"prompt": None}, 400, "prompt"),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": {"a": 1}}, 400, "body.prompt"),
        ({"prompt": [1, "a"]}, 400, "body.prompt"),
        ({"prompt": [[1], []]}, 400, "prompt"),
        ({"temperature": -1}, 400, "temperature"),
        ({"model": "other"}, 404, "model"),
        ({"stream": False, "stream_options": {}}, 400, "stream_options"),
        ({"stream_options": 3}, 400, "body.stream_options"),
    ],
)
def test_wrong_fields_are_refused(fast: Server, fields: dict[str, object], status: int, param: str) -> None:
    reply = complete(fast.port, **fields)
    assert (reply.status, reply.json["error"]["param"], reply.json["error"]["code"]) == (
        status,
        param,
        status,
    )


@pytest.mark.parametrize("fields", [{"max_tokens": "5"}, {"max_tokens": 5.0}, {"stream": "true"}, {"n": "1"}])
def test_values_that_pydantic_would_convert_are_taken(fast: Server, fields: dict[str, object]) -> None:
    assert complete(fast.port, **fields).status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"3", b'{"prompt": "a"} x', b'{"a": "\\q"}', b'{"a": 01}', b"[" * 1000, b'{"a"}'],
)
def test_bodies_that_are_no_json_object_are_refused(fast: Server, body: bytes) -> None:
    reply = ask(fast.port, "POST", "/v1/completions", body)
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["type"] == "Bad Request"


def test_a_long_list_of_ids_is_read(fast: Server) -> None:
    reply = complete(fast.port, prompt=list(range(100_000)), stream=False)
    assert reply.json["usage"]["prompt_tokens"] == 100_000
