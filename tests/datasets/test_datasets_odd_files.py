"""Data set files as people have them: marks, other encodings, line ends, nulls. One line names what is wrong."""

import gzip
import json

import pytest
from twins.dropin_samples import samples as dropin

from vllmperf import text_file
from vllmperf.datasets import burstgpt, rows, sharegpt, timed_trace
from vllmperf.datasets.chance import Chance
from vllmperf.errors import UsageError

QUESTION = "river number one carries the narrow lantern beyond the bridge"
ANSWER = "the lantern stands behind the river and the bridge"
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]
POEM = [f"{QUESTION} {i}\n" for i in range(20)]


def talk(*values):
    return {"conversations": [{"from": "human", "value": value} for value in values]}


def written(tmp_path, content, name="data.json", encoding="utf-8"):
    path = tmp_path / name
    text = content if isinstance(content, str | bytes) else json.dumps(content, ensure_ascii=False)
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return str(path)


def jsonl(tmp_path, *found, encoding="utf-8", end="\n"):
    text = "".join(
        row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) + end for row in found
    )
    return written(tmp_path, text, "data.jsonl", encoding)


IN_ORDER = {"disable_shuffle": True, "no_oversample": True}


def read_sharegpt(tokens, path, n=1, version="2026"):
    return dropin(tokens, Chance(0), version, n, "sharegpt", path, **(IN_ORDER if version == "2026" else {}))


def read_custom(tokens, path, n=1, output_len=5):
    asked = {"custom_output_len": output_len, "skip_chat_template": True, **IN_ORDER}
    return dropin(tokens, Chance(0), "2026", n, "custom", path, **asked)


def read_spec_bench(tokens, path, n=1):
    return dropin(tokens, Chance(0), "2026", n, "spec_bench", path, no_oversample=True)


def read_trace(tokens, path, n=1):
    asked = {"path": path, "block": 4, "seconds": 1.0, "labels": timed_trace.Labels()}
    return timed_trace.samples(tokens.all_ids, n, **asked)


def read_hf(tokens, path, n=1):
    return dropin(tokens, Chance(0), "2026", n, "hf", path, **IN_ORDER)


def read_sonnet(tokens, path):
    asked = {"sonnet_input_len": 400, "sonnet_prefix_len": 100, "backend": "openai-chat"}
    return dropin(tokens, Chance(0), "0.8", 2, "sonnet", path, **asked)


# ---- encodings ----


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_data_set_takes_files_with_a_byte_order_mark(tokens, tmp_path, encoding):
    path = written(tmp_path, [talk(f"{QUESTION} é", ANSWER)], encoding=encoding)
    assert read_sharegpt(tokens, path)[0].prompt == f"{QUESTION} é"
    assert read_hf(tokens, path)[0].prompt == f"{QUESTION} é"
    assert read_custom(tokens, jsonl(tmp_path, {"prompt": "é"}, encoding=encoding))[0].prompt == "é"
    trace = {"timestamp": 0, "input_length": 4, "output_length": 3, "hash_ids": [1]}
    assert read_trace(tokens, jsonl(tmp_path, trace, encoding=encoding))[0].prompt_len == 4
    poem = written(tmp_path, "".join(POEM), "poem.txt", encoding)
    assert QUESTION in read_sonnet(tokens, poem)[0].prompt.splitlines()[1]
    csv = "Timestamp,Model,Request tokens,Response tokens\n1,GPT-4,7,5\n"
    path = written(tmp_path, csv, "b.csv", encoding)
    assert burstgpt.samples(tokens, 1, path=path, seed=0)[0].prompt_len == 7


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_streamed_files_may_have_a_byte_order_mark_too(tmp_path, monkeypatch, encoding, piece):
    monkeypatch.setattr(rows, "PIECE", piece)
    path = tmp_path / "data"
    path.write_bytes(json.dumps([talk("é", "b")], ensure_ascii=False).encode(encoding))
    assert [pair.question for pair in sharegpt.pairs(path)] == ["é"]
    path.write_bytes('{"prompt": "é"}\r\n\r\n{"prompt": "b"}\r\n'.encode(encoding))
    for form in (None, ".jsonl"):
        assert [row.text("prompt") for row in rows.rows(path, form=form)] == ["é", "b"]
    path.write_bytes("é\n\n b\n".encode(encoding))
    assert rows.lines(path) == ["é\n", " b\n"]


def test_what_is_no_utf_8_is_named_with_its_line(tokens, tmp_path):
    bad = b'[\n{"conversations": []},\n"caf\xe9"]'
    with pytest.raises(UsageError, match=r"data\.json is no UTF-8 text: line 3 has the byte 0xe9"):
        read_sharegpt(tokens, written(tmp_path, bad))
    with pytest.raises(UsageError, match="line 3 has the byte 0xe9"):
        sharegpt.pairs(tmp_path / "data.json")
    with pytest.raises(UsageError, match="line 2 has the byte 0xe9"):
        list(rows.rows(written(tmp_path, b'{"prompt": "a"}\n{"prompt": "\xe9"}\n', "data.jsonl")))


def test_a_compressed_file_is_named_as_such(tokens, tmp_path):
    packed = gzip.compress(json.dumps([talk("a", "b")]).encode())
    path = written(tmp_path, packed)
    with pytest.raises(UsageError, match=r"data\.json is compressed \(gzip\): unpack it first"):
        read_sharegpt(tokens, path)
    for read in (rows.lines, sharegpt.pairs, lambda path: list(rows.rows(path, form=".jsonl"))):
        with pytest.raises(UsageError, match="compressed"):
            read(tmp_path / "data.json")
    with pytest.raises(text_file.NoTextError, match="zip"):
        text_file.read(written(tmp_path, b"PK\x03\x04..."))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_are_no_part_of_a_prompt(tokens, tmp_path, end):
    path = written(tmp_path, "".join(line.replace("\n", end) for line in POEM), "poem.txt")
    assert "\r" not in "".join(sample.prompt for sample in read_sonnet(tokens, path))
    if end != "\r":
        found = read_custom(tokens, jsonl(tmp_path, {"prompt": "a"}, end, {"prompt": "b"}, end=end), 2)
        assert [sample.prompt for sample in found] == ["a", "b"]


def test_a_line_separator_within_a_text_ends_no_line(tokens, tmp_path):
    text = "a\N{LINE SEPARATOR}b\x0bc\N{NEXT LINE}d"
    path = written(tmp_path, f'{{"prompt": "{text}"}}\n'.replace("\x0b", "\\u000b"), "data.jsonl")
    assert read_custom(tokens, path)[0].prompt == text
    poem = written(
        tmp_path, "".join(line.replace(" carries", "\N{LINE SEPARATOR}") for line in POEM), "poem.txt"
    )
    assert "river number one\N{LINE SEPARATOR} the narrow lantern" in read_sonnet(tokens, poem)[0].prompt


# ---- rows ----


@pytest.mark.parametrize("version", ["0.6", "0.8", "2026"])
@pytest.mark.parametrize(
    "bad",
    [
        talk(QUESTION, None),
        talk(None, ANSWER),
        talk(5, ANSWER),
        talk(["a"], ANSWER),
        {"conversations": [{"value": QUESTION}, {}]},
        {"conversations": [{"value": QUESTION}, None]},
        {"conversations": ["a", "b"]},
    ],
)
def test_a_turn_without_text_is_named_with_file_and_row(tokens, tmp_path, version, bad):
    path = written(tmp_path, [talk(QUESTION, ANSWER), {"conversations": []}, bad])
    with pytest.raises(
        UsageError, match=r'data\.json row 3, line 1: one of the first two turns has no text "value"'
    ):
        read_sharegpt(tokens, path, 2, version)
    if version == "2026":  # the older ones always shuffle
        assert len(read_sharegpt(tokens, path, 1, version)) == 1  # as in the original it is not reached


@pytest.mark.parametrize(
    "row", [None, 5, "x", [], {}, {"conversations": None}, {"conversations": "ab"}, talk("a")]
)
def test_rows_that_are_no_conversation_are_passed_over(tokens, tmp_path, row):
    path = written(tmp_path, [row, talk(QUESTION, ANSWER)])
    assert [sample.prompt for sample in read_sharegpt(tokens, path)] == [QUESTION]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"prompt": None}, 'no text "prompt"'),
        ({"prompt": 5}, 'no text "prompt"'),
        ({"prompt": ["a"]}, 'no text "prompt"'),
        ({"text": "a"}, 'no text "prompt"'),
        ('{"prompt": NaN}\n', 'no text "prompt"'),
        ('{"prompt": "a", "output_tokens": NaN}\n', "output_tokens"),
        ('{"prompt": "a", "output_tokens": Infinity}\n', "output_tokens"),
        ({"prompt": "a", "output_tokens": None}, "output_tokens"),
        ({"prompt": "a", "output_tokens": "many"}, "output_tokens"),
        ({"prompt": "a", "output_tokens": [1]}, "output_tokens"),
        ({"prompt": "a"}, "output_tokens"),
    ],
)
def test_a_custom_row_that_cannot_be_sent_is_named_with_file_and_line(tokens, tmp_path, row, what):
    path = jsonl(tmp_path, {"prompt": "a", "output_tokens": 3}, "\n", row)
    with pytest.raises(UsageError, match=rf"data\.jsonl row 2, line 3: .*{what}"):
        read_custom(tokens, path, 2, output_len=-1)
    assert len(read_custom(tokens, path, 1, output_len=-1)) == 1


def test_without_a_tokenizer_a_null_prompt_is_refused_and_token_ids_go_out(tmp_path):
    with pytest.raises(UsageError, match="line 2"):
        read_custom(None, jsonl(tmp_path, {"prompt": "a"}, {"prompt": None}), 2)
    assert read_custom(None, jsonl(tmp_path, {"prompt": [1, 2]}))[0].prompt == [1, 2]


@pytest.mark.parametrize("turns", [None, [], [None], "ab", [["a"]]])
def test_a_spec_bench_row_without_a_first_turn_is_named(tokens, tmp_path, turns):
    with pytest.raises(UsageError, match=r"data\.jsonl row 2, line 2: .*turns"):
        read_spec_bench(tokens, jsonl(tmp_path, {"turns": ["a"]}, {"turns": turns}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp", None),
        ("timestamp", "soon"),
        ("timestamp", float("nan")),
        ("input_length", float("inf")),
        ("input_length", [4]),
        ("output_length", None),
        ("hash_ids", None),
        ("hash_ids", 5),
    ],
)
def test_a_trace_row_that_is_none_is_named_with_file_and_line(tokens, tmp_path, field, value):
    good = {"timestamp": 0, "input_length": 4, "output_length": 3, "hash_ids": [1]}
    path = jsonl(tmp_path, good, {**good, field: value})
    with pytest.raises(UsageError, match=rf"data\.jsonl row 2, line 2: {field}"):
        read_trace(tokens, path, 2)
    assert len(read_trace(tokens, path, 1)) == 1


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("2,GPT-4,x,5", "row 2, line 3: 'x'"),
        ("2,GPT-4,,5", "row 2, line 3: request and response"),
        ("2,GPT-4,inf,5", "row 2, line 3: request and response"),
        ("2,GPT-4,5,many", "row 2, line 3: 'many'"),
    ],
)
def test_a_burstgpt_row_without_lengths_is_named(tokens, tmp_path, row, what):
    head = "Timestamp,Model,Request tokens,Response tokens\n1,ChatGPT,7,5\n"
    with pytest.raises(UsageError, match=what):
        burstgpt.samples(tokens, 1, path=written(tmp_path, head + row + "\n", "b.csv"), seed=0)


def test_burstgpt_rows_without_an_answer_are_left_out(tokens, tmp_path):
    text = "Timestamp,Model,Request tokens,Response tokens\n1,GPT-4,7,\n2,GPT-4,7,NA\n3,GPT-4\n4,GPT-4,9,5\n"
    found = burstgpt.samples(tokens, 2, path=written(tmp_path, text, "b.csv"), seed=0)
    assert {sample.prompt_len for sample in found} == {9}


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (talk(QUESTION, None), "row 2, line 1: the answer is no text"),
        (talk(None, ANSWER), "row 2, line 1: the prompt is no text"),
        ({"conversations": None}, "row 2, line 1 is none of this data set"),
        ({}, "row 2, line 1 lacks 'conversations'"),
        (None, "row 2, line 1 is none of this data set"),
    ],
)
def test_a_hugging_face_row_without_its_texts_is_named(tokens, tmp_path, row, what):
    path = written(tmp_path, [talk(QUESTION, ANSWER), row])
    with pytest.raises(UsageError, match=rf"data\.json {what}"):
        read_hf(tokens, path, 2)
    assert len(read_hf(tokens, path, 1)) == 1


def test_a_file_of_another_form_is_named(tokens, tmp_path):
    for empty in ({"a": 1}, "", "[" * 100_000):
        with pytest.raises(UsageError, match=r"no request|no usable row"):
            read_sharegpt(tokens, written(tmp_path, empty))
    with pytest.raises(UsageError, match="no JSON"):
        read_sharegpt(tokens, written(tmp_path, '{"a":' * 100_000))
    with pytest.raises(UsageError, match="line 2: this is no JSON object"):
        read_custom(tokens, jsonl(tmp_path, {"prompt": "a"}, "[1]\n"), 2)
