"""Data strings, lengths, prompts, data files."""

import itertools
import json
import random
import sys
import types
from pathlib import Path

import pytest

from vllmperf.dropin.guidellm import data, files, synthetic
from vllmperf.dropin.guidellm.arguments import parse
from vllmperf.errors import UsageError


def lengths(text, of="prompt", seed=42, n=200):
    return list(itertools.islice(synthetic.shape(text).lengths(of, seed), n))


def test_the_documents_string_is_read():
    found = synthetic.shape("prompt_tokens=128,output_tokens=128")
    assert (found.prompt_tokens, found.output_tokens, found.samples, found.prefix_tokens) == (
        128,
        128,
        1000,
        0,
    )
    assert set(lengths("prompt_tokens=128,output_tokens=128")) == {128}


@pytest.mark.parametrize(
    "text",
    [
        "prompt_tokens=32, prompt_tokens_stdev=8 ,output_tokens=8,samples=5",
        '{"prompt_tokens": 32, "prompt_tokens_stdev": 8, "output_tokens": 8, "samples": 5}',
        "kind=synthetic_text,prompt_tokens=32,prompt_tokens_stdev=8,output_tokens=8,samples=5",
    ],
)
def test_pairs_json_and_the_spelling_of_0_7_mean_the_same(text):
    assert synthetic.is_synthetic(text)
    assert synthetic.shape(text) == synthetic.Shape(
        prompt_tokens=32, prompt_tokens_stdev=8, output_tokens=8, samples=5
    )


def test_a_yaml_file_may_say_it_too(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text("prompt_tokens: 4\noutput_tokens: 5\nprefix_tokens: 6\n")
    assert synthetic.shape(str(path)) == synthetic.Shape(prompt_tokens=4, output_tokens=5, prefix_tokens=6)


def test_spread_lengths_are_drawn_as_guidellm_draws_them():
    generator = random.Random(42)
    drawn = [generator.gauss(32, 8) for _ in range(200)]
    assert lengths(
        "prompt_tokens=32,prompt_tokens_stdev=8,prompt_tokens_min=16,prompt_tokens_max=48,output_tokens=8"
    ) == [round(max(16, min(48, length))) for length in drawn]


def test_bounds_without_a_deviation_are_uniform_and_a_deviation_without_bounds_ends_at_five():
    uniform = lengths("prompt_tokens=32,prompt_tokens_min=30,prompt_tokens_max=33,output_tokens=8")
    assert set(uniform) == {30, 31, 32, 33}
    wild = lengths("prompt_tokens=10,prompt_tokens_stdev=9,output_tokens=8", n=3000)
    assert min(wild) == 1
    assert max(wild) <= 10 + 5 * 9


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("prompt_tokens=128", "output_tokens is missing"),
        ("prompt_tokens=0,output_tokens=1", "prompt_tokens"),
        ("prompt_tokens=a,output_tokens=1", "prompt_tokens"),
        ("prompt_tokens=1,output_tokens=1,turns=3", "turns"),
        ("prompt_tokens=1,output_tokens", "output_tokens"),
        ("prompt_tokens=1,output_tokens=9,output_tokens_min=5,output_tokens_max=4", "output_tokens_min"),
        ("{nothing", "JSON"),
        ("/nowhere/data.yaml", "nowhere"),
    ],
)
def test_a_wrong_string_is_refused_by_name(text, word):
    with pytest.raises(UsageError, match=word):
        synthetic.shape(text)


def test_without_a_tokenizer_prompts_are_token_ids_of_the_asked_length():
    found = synthetic.source(
        synthetic.shape("prompt_tokens=20,output_tokens=3,prefix_tokens=7,samples=50"), 42, None, False
    )
    assert found.count == 50
    prompts = [json.loads(found.item(number).content) for number in range(50)]
    assert {len(prompt) for prompt in prompts} == {27}
    assert len({tuple(prompt[:7]) for prompt in prompts}) == 1
    assert len({tuple(prompt) for prompt in prompts}) == 50
    item = found.item(3)
    assert (item.prompt_tokens, item.output_tokens, item.shown) == (27, 3, item.content)
    assert found.item(3) == item


def test_the_same_seed_gives_the_same_prompts_and_another_one_others():
    text = synthetic.shape("prompt_tokens=20,output_tokens=3,samples=5")
    first, again, other = (synthetic.source(text, seed, None, False) for seed in (1, 1, 2))
    assert first.item(4) == again.item(4)
    assert first.item(4) != other.item(4)


def test_chat_gets_words_where_there_is_no_tokenizer():
    found = synthetic.source(
        synthetic.shape("prompt_tokens=20,output_tokens=3,prefix_tokens=2"), 42, None, True
    )
    assert len(json.loads(found.item(0).content).split()) == 22


def test_a_tokenizer_that_is_given_is_used(model):
    tokenizer = data.tokenizer(str(model))
    found = synthetic.source(
        synthetic.shape("prompt_tokens=20,output_tokens=3,samples=4"), 42, tokenizer, False
    )
    counts = [tokenizer.count(found.item(number).shown, special=False) for number in range(4)]
    assert counts == [20] * 4


def test_a_processor_that_is_a_missing_path_is_refused():
    assert data.tokenizer(None) is None
    with pytest.raises(UsageError, match=r"there is no /nowhere/model"):
        data.tokenizer("/nowhere/model")


# ---- files ----


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "one two\n\nthree\n"),
        ("a.csv", "id,prompt\n1,one two\n2,three\n"),
        ("a.jsonl", '{"prompt": "one two"}\n{"prompt": "three"}\n'),
        ("a.json", '[{"text": "one two", "id": 1}, {"text": "three", "id": 2}]'),
        ("b.json", '{"data": [{"question": "one two"}, {"question": "three"}]}'),
    ],
)
def test_prompts_come_from_text_csv_and_json(tmp_path, name, text):
    found = files.source(written(tmp_path, name, text), None, None)
    assert [item.shown for item in found.items] == ["one two", "three"]
    assert found.items[0].output_tokens is None


def test_lengths_come_from_their_columns_and_columns_may_be_named(tmp_path):
    path = written(tmp_path, "a.csv", "q,prompt_tokens,n\nhello,3,5\n")
    arguments = {"prompt_column": "q", "output_tokens_count_column": "n"}
    (item,) = files.source(path, arguments, None).items
    assert (item.shown, item.prompt_tokens, item.output_tokens) == ("hello", 3, 5)


def test_the_sampler_shuffles_by_the_seed(tmp_path):
    path = written(tmp_path, "a.txt", "\n".join(f"line {number}" for number in range(50)))
    plain, one, again = (files.source(path, None, seed).items for seed in (None, 1, 1))
    assert one == again != plain
    assert sorted(item.shown for item in one) == sorted(item.shown for item in plain)


@pytest.mark.parametrize(
    ("name", "text", "arguments", "word"),
    [
        ("a.hdf5", "x", None, "hdf5"),
        ("a.bin", "x", None, "give a .txt"),
        ("a.txt", "\n", None, "is empty"),
        ("a.csv", "a,b\n1,2\n", None, "no column"),
        ("a.csv", "prompt,output_tokens\nx,many\n", None, "output_tokens is 'many'"),
        ("a.jsonl", '{"prompt": 5}\n', None, "row 1"),
        ("a.jsonl", '{"prompt": "x"}\n{oh\n', None, "line 2"),
        ("a.txt", "x\n", {"revision": 1}, "revision"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path, name, text, arguments, word):
    with pytest.raises(UsageError, match=word):
        files.source(written(tmp_path, name, text), arguments, None)


# ---- data that other packages read ----


class Table:
    """As much of a table of pyarrow as is used."""

    def to_pylist(self):
        return [{"prompt": "one two", "output_tokens": 3}, {"prompt": "three", "output_tokens": None}]


def package(monkeypatch, name, **members):
    module = types.ModuleType(name)
    for member, value in members.items():
        setattr(module, member, value)
    monkeypatch.setitem(sys.modules, name, module)


def without(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)


def test_parquet_is_read_by_pyarrow(tmp_path, monkeypatch):
    package(monkeypatch, "pyarrow")
    package(monkeypatch, "pyarrow.ipc")
    package(monkeypatch, "pyarrow.parquet", read_table=lambda _: Table())
    found = files.source(written(tmp_path, "a.parquet", "x"), None, None)
    assert [(item.shown, item.output_tokens) for item in found.items] == [("one two", 3), ("three", None)]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_without_pyarrow_a_line_says_what_to_install(tmp_path, monkeypatch, suffix):
    without(monkeypatch, "pyarrow")
    without(monkeypatch, "pyarrow.ipc")
    with pytest.raises(
        UsageError, match=rf"pyarrow reads \.{suffix} files.*pip install .vllmperf\[datasets\]"
    ):
        files.source(written(tmp_path, f"a.{suffix}", "x"), None, None)


@pytest.mark.parametrize("form", ["parquet", "file", "stream"])
def test_what_pyarrow_writes_is_read(tmp_path, form):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import ipc, parquet

    table = pyarrow.table({"question": ["one", "two"], "output_tokens": [3, 4]})
    path = tmp_path / ("a.parquet" if form == "parquet" else "a.arrow")
    if form == "parquet":
        parquet.write_table(table, path)
    else:
        new = ipc.new_file if form == "file" else ipc.new_stream
        with new(str(path), table.schema) as writer:
            writer.write_table(table)
    found = files.source(str(path), None, None)
    assert [(item.shown, item.output_tokens) for item in found.items] == [("one", 3), ("two", 4)]
    path.write_bytes(b"nothing")
    with pytest.raises(UsageError, match="cannot be read") as refusal:
        files.source(str(path), None, None)
    assert "\n" not in str(refusal.value)


def test_a_data_set_of_the_hub_is_read_as_its_files_are(tmp_path, monkeypatch):
    asked = []

    def files_of(*words):
        asked.append(words)
        return [
            Path(written(tmp_path, f"{name}.jsonl", f'{{"q": "{name}", "n": 5}}')) for name in ("one", "two")
        ]

    monkeypatch.setattr("vllmperf.hub.dataset_files", files_of)
    arguments = {"text_column": "q", "output_tokens_count_column": "n", "name": "main", "split": "test"}
    found = files.source("org/set", arguments, None).items
    assert [(item.shown, item.output_tokens) for item in found] == [("one", 5), ("two", 5)]
    assert asked == [("org/set", "main", "test", None, "--data")]
    with pytest.raises(UsageError, match="streaming is not known here"):
        files.source("org/set", {"streaming": True}, None)


def test_a_file_that_does_not_exist_is_not_looked_for_at_the_hub():
    for name in ("/nowhere/set", "prompts.jsonl", "~/a", "./b"):
        with pytest.raises(UsageError, match="no such file"):
            files.source(name, None, None)


def test_the_list_of_a_json_file_may_be_named(tmp_path):
    path = written(tmp_path, "a.json", '{"a": [{"text": "one"}], "b": [{"text": "two"}]}')
    assert [item.shown for item in files.source(path, {"field": "b"}, None).items] == ["two"]
    with pytest.raises(UsageError, match="under c"):
        files.source(path, {"field": "c"}, None)


def test_only_so_many_prompts_are_sent(tmp_path):
    def given(text):
        words = ["--target", "http://h", "--rate-type", "synchronous", "--data-samples", "2", "--data", text]
        return data.source(parse(words, {}), None)

    assert given(written(tmp_path, "a.txt", "one\ntwo\nthree\n")).count == 2
    assert given("prompt_tokens=4,output_tokens=5").count == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"prompt": "é\N{LINE SEPARATOR}b"}\r\n{"prompt": "c"}\r\n'),
        ("a.json", '[{"prompt": "é\N{LINE SEPARATOR}b"}, {"prompt": "c"}]'),
        ("a.csv", "prompt\r\né\N{LINE SEPARATOR}b\r\nc\r\n"),
        ("a.txt", "é\N{LINE SEPARATOR}b\r\nc\r\n"),
    ],
)
def test_files_may_have_a_byte_order_mark_and_other_line_ends(tmp_path, name, text, encoding):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    assert [item.shown for item in files.source(str(path), None, None).items] == ["é\N{LINE SEPARATOR}b", "c"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"good\ncaf\xe9\n", "line 2 has the byte 0xe9"),
        ("a.jsonl", b"\x1f\x8b\x08\x00", "compressed"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": null}\n', "row 2: prompt is no text"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": NaN}\n', "row 2: prompt is no text"),
        ("a.jsonl", b'{"prompt": "a", "output_tokens": NaN}\n', "row 1: output_tokens is nan"),
        ("a.jsonl", b"[" * 100_000, "no JSON"),
        ("a.csv", b'prompt\n"' + b"a" * 200_000 + b'"\n', "no CSV"),
    ],
)
def test_what_a_file_cannot_have_is_one_line_with_its_place(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=says) as refusal:
        files.source(str(tmp_path / name), None, None)
    assert name in str(refusal.value)
