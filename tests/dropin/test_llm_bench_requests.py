"""llm_bench's requests: bodies byte for byte, prompts, lengths."""

import itertools
import json
import random
import re

import pytest

from vllmperf.dropin.llm_bench import providers
from vllmperf.dropin.llm_bench.arguments import parse
from vllmperf.dropin.llm_bench.counting import token_count
from vllmperf.dropin.llm_bench.lengths import Lengths
from vllmperf.dropin.llm_bench.prompts import TASK, letters, prompts
from vllmperf.dropin.llm_bench.texts import code, limericks
from vllmperf.errors import UsageError

WORD = re.compile(r"\w+|[^\w\s]+")
"""What the tokenizer of these tests takes for a token."""


def options(words, profile="2024-10"):
    return parse(["--profile", profile, *words.split()])


def body(words, profile="2024-10", provider="vllm", prompt="hi", max_tokens=5):
    return providers.body(provider, options(words, profile), "m", prompt, max_tokens).decode()


def drawn(words, n, profile="2024-10"):
    return [prompt for prompt, _ in itertools.islice(prompts(options(words, profile), random.Random(1)), n)]


# ---- bodies ----


def test_a_completion_of_2024_has_its_fields_in_the_order_of_the_original():
    assert body("--logprobs 1") == (
        '{"model": "m", "max_tokens": 5, "stream": true, "temperature": 1.0, "n": 1, "prompt": "hi", '
        '"logprobs": 1, "ignore_eos": true}'
    )


def test_a_chat_of_2026_asks_for_usage_and_has_its_messages_late():
    assert body("--top-k 3 --reasoning-effort low", "2026-06") == (
        '{"model": "m", "max_tokens": 5, "stream": true, "temperature": 1.0, "n": 1, '
        '"stream_options": {"include_usage": true}, "top_k": 3, "reasoning_effort": "low", '
        '"messages": [{"role": "user", "content": "hi"}], "ignore_eos": true}'
    )


def test_without_a_stream_usage_is_not_asked_for():
    assert "stream_options" not in body("--no-stream", "2026-06")


def test_text_beyond_ascii_is_escaped():
    assert '"prompt": "\\u00e9"' in body("", prompt="é")


def test_each_provider_has_its_own_fields():
    assert "ignore_eos" not in body("", provider="openai")
    assert body("-pcml 7", provider="fireworks").endswith('"min_tokens": 5, "prompt_cache_max_len": 7}')
    assert body("", "2026-06", provider="fireworks").endswith('"perf_metrics_in_response": true}')
    together = json.loads(body("--no-stream", provider="together"))
    assert together["stream_tokens"] is False
    assert "stream" not in together
    assert json.loads(body("", provider="tgi")) == {
        "inputs": "hi",
        "parameters": {"max_new_tokens": 5, "temperature": 1.0, "top_n_tokens": None, "details": False},
    }


def test_paths_follow_provider_and_mode():
    assert providers.path("vllm", options("")) == "/v1/completions"
    assert providers.path("vllm", options("--chat")) == "/v1/chat/completions"
    assert providers.path("tgi", options("")) == "/generate_stream"
    assert providers.path("tgi", options("--no-stream")) == "/generate"
    assert providers.path("together", options("")) == "/"
    assert providers.path("vllm", options("--embeddings", "2026-06")) == "/v1/embeddings"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("https://api.fireworks.ai/inference", "fireworks"),
        ("https://api.together.xyz", "together"),
        ("https://api.openai.com", "openai"),
        ("http://localhost:8000", None),
    ],
)
def test_some_hosts_give_their_provider_away(host, name):
    assert providers.provider_of_host(host) == name


# ---- prompts ----


def test_a_prompt_of_2024_is_padding_and_the_task():
    assert drawn("-p 38", 2) == ["Pad Pad Pad " + TASK] * 2


def test_a_prompt_too_short_for_the_task_is_refused():
    with pytest.raises(UsageError, match="35"):
        drawn("-p 34", 1)


def test_prompt_chars_cuts_to_the_character():
    assert drawn("--prompt-chars 9", 1) == ["Pad Pad P"]
    assert drawn("--prompt-chars 3", 1) == ["Pad"]


def test_randomized_prompts_differ_and_keep_length_and_task():
    first, second = drawn("-p 60 --prompt-randomize", 2)
    assert first != second
    assert first.endswith(" " + TASK)
    assert len(first.removesuffix(TASK).split()) == 60 - 35
    assert len(letters("Pad " * 9 + TASK, random.Random(0)).removesuffix(TASK).split()) == 9


def test_prompts_come_from_text_or_file(tmp_path):
    text, rows = tmp_path / "p.txt", tmp_path / "p.jsonl"
    text.write_text("from a file")
    rows.write_text('{"prompt": "one"}\n{"prompt": "two", "images": ["data:x"]}\n')
    assert drawn("--prompt-text word", 1) == ["word"]
    assert drawn(f"--prompt-text @{text}", 1) == drawn(f"--prompt-file {text}", 1) == ["from a file"]
    found = {row["prompt"]: row["images"] for row in drawn(f"--prompt-text @{rows}", 40)}
    assert found == {"one": None, "two": ["data:x"]}


def test_images_of_a_row_go_where_the_mode_has_them():
    row = {"prompt": "see", "images": ["data:x"]}
    assert json.loads(body("", prompt=row))["images"] == ["data:x"]
    assert json.loads(body("--chat", prompt=row))["messages"][0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:x"}},
    ]


@pytest.mark.parametrize("content", ["", "no json\n", "[1]\n", '{"text": "x"}\n'])
def test_a_bad_file_of_prompts_is_named(content, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"p\.jsonl"):
        drawn(f"--prompt-text @{path}", 1)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_prompts_may_have_a_byte_order_mark_and_blank_lines(tmp_path, encoding):
    path = tmp_path / "p.jsonl"
    path.write_bytes('{"prompt": "é\N{LINE SEPARATOR}b"}\r\n\r\n'.encode(encoding))
    (prompt,) = drawn(f"--prompt-text @{path}", 1)
    assert prompt["prompt"] == "é\N{LINE SEPARATOR}b"
    path.write_bytes(b'{"prompt": "caf\xe9"}')
    with pytest.raises(UsageError, match="line 1 has the byte 0xe9"):
        drawn(f"--prompt-text @{path}", 1)


def test_rows_of_a_data_set_of_2026_replace_fields_of_the_body(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "a", "temperature": 0.5}\n{"prompt": "b"}\n')
    rows = drawn(f"--dataset @{path}", 3, "2026-06")
    assert [row["prompt"] for row in rows] == ["a", "b", "a"]
    assert json.loads(body("", "2026-06", prompt=rows[0]))["temperature"] == 0.5
    assert [row["prompt"] for row in drawn(f"--dataset @{path} --dataset-limit 1", 2, "2026-06")] == [
        "a",
        "a",
    ]


def test_a_last_message_of_the_assistant_can_be_dropped():
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    assert len(json.loads(body("--clear-assistant", "2026-06", prompt=row))["messages"]) == 1
    assert len(json.loads(body("", "2026-06", prompt=row))["messages"]) == 2


def test_a_data_set_of_text_needs_a_tokenizer():
    with pytest.raises(UsageError, match="tokenizer"):
        drawn("--dataset code", 1, "2026-06")


def test_verses_are_many_and_always_the_same():
    assert limericks() == limericks()
    assert len(set(limericks())) > 300
    assert all(verse.count("\n") == 4 for verse in limericks())
    assert len(code()) > 50


# ---- tokens ----

WORDS = {
    "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "decoder": None,
    "added_tokens": [
        {"id": 0, "content": "<s>", "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
    ],
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    },
    "model": {"type": "WordLevel", "vocab": {"<s>": 0, "a": 1, "?": 2}, "unk_token": "?"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "tokens"), [("LlamaTokenizerFast", 3), ("PreTrainedTokenizerFast", 4), (None, 4)]
)
def test_special_tokens_count_where_switching_them_off_has_no_effect(kind, tokens, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(WORDS))
    if kind:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    read = options(f"--tokenizer {tmp_path} --prompt-file x")
    assert token_count(read)("a a a") == tokens
    assert token_count(options("")) is None


def test_a_data_set_of_text_fills_up_to_the_length_that_was_asked_for(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(WORDS))
    words = f"--tokenizer {tmp_path} --no-chat -p 300 -pcml 100"
    made = list(itertools.islice(prompts(options(words, "2026-06"), random.Random(5)), 3))
    longest = max(len(WORD.findall(verse)) for verse in limericks())
    for text, tokens in made:
        assert 300 <= tokens < 300 + longest
        assert text.endswith("\n\n\n\nTranslate the limericks above to Spanish.")
        assert len(WORD.findall(text)) == tokens
    texts = [text for text, _ in made]
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    assert len(WORD.findall("".join(letters[0] for letters in same))) >= 90
    assert len(set(texts)) == 3


# ---- lengths ----


def test_lengths_stay_in_their_distribution():
    generator = random.Random(2)
    uniform = Lengths("uniform", 100, 110, 0.3)
    drawn_lengths = [uniform.sample(generator) for _ in range(500)]
    assert (min(drawn_lengths), max(drawn_lengths)) == (70, 110)
    normal = [Lengths("normal", 100, None, 0.3).sample(generator) for _ in range(2000)]
    assert 97 < sum(normal) / len(normal) < 102
    assert min(normal) > 0
    exponential = [Lengths("exponential", 100, 200, 0.3).sample(generator) for _ in range(500)]
    assert 0 < min(exponential) < 20 < 150 < max(exponential) <= 200
    assert {Lengths("constant", 9, None, 0.3).sample(generator) for _ in range(9)} == {9}


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        (Lengths("constant", 100, None, 0.3), "100"),
        (Lengths("uniform", 100, 120, 0.3), "uniform(100 +/- 30) capped at 120"),
        (Lengths("normal", 60, None, 0.3), "normal(60, 18)"),
        (Lengths("exponential", 60, None, 0.3), "exponential(60)"),
    ],
)
def test_a_distribution_is_written_as_the_original_does(lengths, text):
    assert str(lengths) == text


def test_a_distribution_without_any_length_is_refused():
    with pytest.raises(UsageError, match="draws"):
        Lengths("constant", 100, 50, 0.3).sample(random.Random(0))
