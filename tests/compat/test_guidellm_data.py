"""Data strings, lengths, prompts, data files."""

import itertools
import json
import random

import pytest

from vllmperf.compat.guidellm import data, files, synthetic
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
    tokenizer = data.tokenizer(str(model), {})
    found = synthetic.source(
        synthetic.shape("prompt_tokens=20,output_tokens=3,samples=4"), 42, tokenizer, False
    )
    counts = [tokenizer.count(found.item(number).shown, special=False) for number in range(4)]
    assert counts == [20] * 4


def test_a_tokenizer_is_found_in_the_hubs_cache_and_nothing_is_fetched(model, tmp_path):
    snapshot = tmp_path / "hub" / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    assert data.tokenizer("some/model", {"HF_HOME": str(tmp_path)}) is not None
    assert data.tokenizer("other/model", {"HF_HOME": str(tmp_path)}) is None
    assert data.tokenizer(None, {}) is None
    with pytest.raises(UsageError, match="no such folder"):
        data.tokenizer("/nowhere/model", {})


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
        ("a.parquet", "x", None, "parquet"),
        ("a.bin", "x", None, "give a .txt"),
        ("a.txt", "\n", None, "no prompts"),
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


def test_a_data_set_of_the_hub_is_refused_by_name():
    with pytest.raises(UsageError, match="openai/gsm8k"):
        files.source("openai/gsm8k", None, None)
