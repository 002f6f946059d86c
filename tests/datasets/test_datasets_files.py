"""Data sets that lie in files."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from twins.dropin_samples import samples as dropin

from vllmperf.datasets import burstgpt, hf, timed_trace
from vllmperf.datasets.chance import Chance
from vllmperf.datasets.sharegpt import is_fit
from vllmperf.datasets.siphash import string_hash
from vllmperf.dropin.benchmark_serving.versions import DATASETS
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

LINES = [f"river number {i} carries the narrow lantern beyond the bridge" for i in range(40)]


def conversations(path, n=12, **more):
    rows = [
        {
            "id": i,
            "conversations": [{"from": "human", "value": LINES[i]}, {"from": "gpt", "value": LINES[i + 1]}],
        }
        for i in range(n)
    ]
    path.write_text(json.dumps([*rows, {"conversations": []}, {"conversations": [{"value": "alone"}]}]))
    return {"path": str(path), "seed": 4, **more}


def prompts(samples):
    return [sample.prompt for sample in samples]


# ---- sharegpt ----


def test_0_6_shuffles_with_the_generator_as_it_stands_and_later_ones_seed_it_anew(tokens, tmp_path):
    asked = conversations(tmp_path / "c.json")
    for version in ("0.6", "0.8"):
        chance = Chance(4)
        chance.python.random()
        found = dropin(tokens, chance, version, 12, "sharegpt", **asked)
        plain, expected = random.Random(4), LINES[:12]
        if version == "0.6":
            plain.random()
        plain.shuffle(expected)
        assert prompts(found) == expected


def test_a_file_that_runs_out_gives_fewer_in_0_6_and_is_drawn_from_again_later(tokens, tmp_path):
    asked = conversations(tmp_path / "c.json")
    assert len(dropin(tokens, Chance(4), "0.6", 20, "sharegpt", **asked)) == 12
    for version in ("0.8", "2026"):
        found = dropin(tokens, Chance(4), version, 20, "sharegpt", **asked)
        plain = random.Random(4)
        first = prompts(found[:12])
        drawn = plain.choices(first, k=8) if version == "0.8" else [plain.choice(first) for _ in range(8)]
        assert prompts(found[12:]) == drawn
        assert [sample.number for sample in found] == list(range(20))
    assert len(dropin(tokens, Chance(4), "2026", 20, "sharegpt", **asked, no_oversample=True)) == 12


@pytest.mark.parametrize(
    ("prompt_len", "output_len", "is_fixed", "fits"),
    [
        (4, 4, False, True),
        (3, 4, False, False),
        (4, 3, False, False),
        (4, 3, True, True),
        (1024, 1024, False, True),
        (1025, 4, False, False),
        (1024, 1025, False, False),
    ],
)
def test_bounds_of_conversations(prompt_len, output_len, is_fixed, fits):
    assert is_fit(prompt_len, output_len, is_fixed=is_fixed) is fits


def test_a_fixed_output_length_is_that_of_all_and_lets_short_answers_in(tokens, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps([{"conversations": [{"value": LINES[0]}, {"value": "y"}]}]))
    asked = {"path": str(path), "seed": 0}
    with pytest.raises(UsageError, match="no request"):
        dropin(tokens, Chance(0), "0.6", 1, "sharegpt", **asked)
    (found,) = dropin(tokens, Chance(0), "0.6", 1, "sharegpt", **asked, sharegpt_output_len=2)
    assert found.output_len == 2


def test_broken_files_are_one_line(tokens, tmp_path):
    path = tmp_path / "c.json"
    for text, what in (
        ("{", "no JSON"),
        ("{}", "no request"),
        ('[{"conversations": [{}, {}]}]', '"value"'),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=what):
            dropin(tokens, Chance(0), "0.6", 1, "sharegpt", str(path))
    with pytest.raises(UsageError, match="dataset_path"):
        dropin(tokens, Chance(0), "0.6", 1, "sharegpt", "")


# ---- sonnet ----


def poem(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text("".join(line + "\n" for line in LINES))
    return str(path)


def test_sonnet_begins_alike_and_0_8_draws_again_what_is_too_long(tokens, tmp_path):
    asked = {"path": poem(tmp_path), "sonnet_input_len": 160, "sonnet_prefix_len": 100}
    old = dropin(tokens, Chance(0), "0.6", 6, "sonnet", **asked, backend="openai-chat")
    new = dropin(tokens, Chance(0), "0.8", 6, "sonnet", **asked, backend="openai-chat")
    assert len({sample.prompt[:120] for sample in old}) == 1
    assert all(sample.prompt_len <= 160 for sample in new)
    kept = [sample.prompt for sample in old if sample.prompt_len <= 160]
    assert prompts(new)[: len(kept)] == kept


def test_sonnet_sends_the_template_unless_the_backend_is_chat(tokens, tmp_path):
    asked = {"path": poem(tmp_path), "sonnet_input_len": 160, "sonnet_prefix_len": 100}
    (plain,) = dropin(tokens, Chance(0), "0.6", 1, "sonnet", **asked, backend="openai-chat")
    (whole,) = dropin(tokens, Chance(0), "0.6", 1, "sonnet", **asked)
    assert whole.prompt == "<|begin|><|user|>" + plain.prompt.strip() + "<|assistant|>"
    assert whole.prompt_len == plain.prompt_len == tokens.count(whole.prompt)


def test_sonnet_lengths_below_the_beginning_are_refused(tokens, tmp_path):
    with pytest.raises(UsageError, match="--sonnet-input-len"):
        dropin(tokens, Chance(0), "0.8", 1, "sonnet", poem(tmp_path), sonnet_input_len=3, sonnet_prefix_len=1)


# ---- burstgpt ----


def test_burstgpt_takes_answered_gpt4_rows_as_pandas_samples_them(tokens, tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "b.csv"
    rows = [f"{i}.5,{'GPT-4' if i % 3 else 'ChatGPT'},{i + 3},{i % 4},9,API log" for i in range(30)]
    path.write_text(
        "\n".join(["Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type", *rows])
    )
    table = pandas.read_csv(path)
    table = table[(table["Model"] == "GPT-4") & (table["Response tokens"] > 0)]
    for n in (5, 50):
        drawn = table.sample(n=n, random_state=9, replace=n > len(table)).values.tolist()
        found = burstgpt.samples(tokens, n, path=str(path), seed=9)
        assert [(sample.prompt_len, sample.output_len) for sample in found] == [
            (row[2], row[3]) for row in drawn
        ]
    ids = [(4 + j) % tokens.vocab_size for j in range(found[4].prompt_len)]
    assert [found[4].prompt] == tokens.decode([ids])


# ---- custom and spec_bench ----


def jsonl(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_custom_puts_prompts_in_the_template_and_takes_lengths_of_the_rows(tokens, tmp_path):
    path = jsonl(
        tmp_path / "p.jsonl", [{"prompt": line, "output_tokens": i} for i, line in enumerate(LINES[:5])]
    )
    asked = {"path": path, "disable_shuffle": True}
    found = dropin(tokens, Chance(0), "2026", 0, "custom", **asked, custom_output_len=-1)
    assert prompts(found) == [f"<|begin|><|user|>{line}<|assistant|>" for line in LINES[:5]]
    assert [sample.output_len for sample in found] == [0, 1, 2, 3, 4]
    plain = dropin(
        tokens, Chance(0), "2026", 3, "custom", **asked, custom_output_len=7, skip_chat_template=True
    )
    assert prompts(plain) == LINES[:3]
    assert {sample.output_len for sample in plain} == {7}


def test_custom_without_a_tokenizer_knows_no_lengths(tmp_path):
    path = jsonl(tmp_path / "p.jsonl", [{"prompt": "a"}, {"prompt": "b"}])
    found = dropin(None, Chance(0), "2026", 2, "custom", path)
    assert {(sample.prompt_len, sample.output_len) for sample in found} == {(1, 1)}


def test_custom_wants_jsonl_with_prompts(tokens, tmp_path):
    with pytest.raises(UsageError, match="jsonl"):
        dropin(tokens, Chance(0), "2026", 1, "custom", "p.json")
    path = jsonl(tmp_path / "p.jsonl", [{"text": "a"}])
    with pytest.raises(UsageError, match="prompt"):
        dropin(tokens, Chance(0), "2026", 1, "custom", path)
    path = jsonl(tmp_path / "q.jsonl", [{"prompt": "a"}])
    with pytest.raises(UsageError, match="output_tokens"):
        dropin(tokens, Chance(0), "2026", 1, "custom", path, custom_output_len=-1)


def test_spec_bench_takes_first_turns_of_a_category_and_seed_0_whatever_is_asked(tokens, tmp_path):
    rows = [{"category": "ab"[i % 2], "turns": [LINES[i], "more"]} for i in range(8)]
    path = jsonl(tmp_path / "q.jsonl", rows)
    found = dropin(tokens, Chance(99), "2026", 4, "spec_bench", path, seed=99, spec_bench_category="b")
    expected = LINES[1:8:2]
    random.Random(0).shuffle(expected)
    assert prompts(found) == [f"<|begin|><|user|>{line}<|assistant|>" for line in expected]


# ---- timed_trace ----


def test_a_trace_makes_equal_hashes_equal_ids_and_cuts_the_last_block(tokens, tmp_path):
    rows = [
        {"timestamp": 0, "input_length": 20, "output_length": 3, "hash_ids": [1, 2]},
        {"timestamp": 500, "input_length": 40, "output_length": 4, "hash_ids": [1, 2, 3]},
    ]
    path = jsonl(tmp_path / "t.jsonl", rows)
    asked = {"path": path, "block": 16, "seconds": 0.001, "labels": timed_trace.Labels()}
    first, second = timed_trace.samples(tokens.all_ids, 5, **asked)
    assert (first.prompt_len, second.prompt_len) == (20, 40)
    assert first.prompt[:16] == second.prompt[:16]
    assert second.time_s == 0.5
    assert set(first.prompt).isdisjoint(tokens.special_ids)


def test_our_string_hash_is_pythons_with_hash_seed_0():
    texts = ["1:16", "12345:7", "abcdefg", "abcdefgh", "abcdefghi", "x" * 40]
    asked = [sys.executable, "-c", f"print([hash(text) for text in {texts!r}])"]
    found = subprocess.run(asked, env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True)
    if sys.hash_info.algorithm != "siphash13":
        pytest.skip(f"this Python hashes with {sys.hash_info.algorithm}")
    assert [string_hash(text) for text in texts] == json.loads(found.stdout)


# ---- hf ----


def test_hf_rows_of_a_file_are_shuffled_as_a_stream_through_a_buffer(tokens, tmp_path):
    rows = [{"question": f"{LINES[i % 40]} {i}"} for i in range(1200)]
    found = list(hf.shuffled(rows, 7))
    assert sorted(row["question"] for row in found) == sorted(row["question"] for row in rows)
    draw = np.random.default_rng(7)
    places = draw.integers(0, 1000, size=1000)
    buffer, expected = rows[:1000], []
    for row, place in zip(rows[1000:], places[:200], strict=True):
        expected.append(buffer[place])
        buffer[place] = row
    draw.shuffle(buffer)
    assert found == expected + buffer


def test_hf_of_an_unknown_set_names_those_it_knows(tokens):
    with pytest.raises(UsageError, match="openai/gsm8k"):
        dropin(tokens, Chance(0), "2026", 1, "hf", "no/such")


def test_hf_conversations_come_from_a_local_file(tokens, tmp_path):
    asked = conversations(tmp_path / "c.json")
    found = dropin(tokens, Chance(0), "2026", 3, "hf", asked["path"], hf_output_len=9)
    assert {sample.output_len for sample in found} == {9}
    assert set(prompts(found)) <= set(LINES)


def test_the_table_of_data_sets_says_what_each_version_has():
    assert DATASETS["sonnet"] == ("0.6", "0.8")
    assert all(versions for versions in DATASETS.values())


def test_a_model_of_the_hugging_face_cache_is_found_by_its_name(model, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    snapshot = tmp_path / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text("abc")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (snapshot / name).write_text((model / name).read_text())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert Tokens("some/model").chat([{"role": "user", "content": "x"}]) == "<|begin|><|user|>x<|assistant|>"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="Hugging Face cache"):
        Tokens("some/other-model")
