"""Tokenizers and data sets by name: from a hub on loopback, or the cache. Each question in a process of its own, as
huggingface_hub reads its environment once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from twins.hub_server import Hub

from vllmperf import hub
from vllmperf.errors import UsageError

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")

COUNT = "from vllmperf.tokenizer.tokens import Tokens; print(Tokens(sys.argv[1]).count('one two'))"
CHAT = (
    "from vllmperf.tokenizer.tokens import Tokens; "
    "print(Tokens(sys.argv[1]).chat([{'role': 'user', 'content': 'x'}]))"
)
PROMPTS = """
import itertools, json
from vllmperf.datasets import Spec, prompts
spec = Spec(**json.loads(sys.argv[1]))
print(json.dumps(sorted(json.loads(prompt.json) for prompt in prompts(spec))))
"""
CARD = b"""---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: other
  data_files: other/*
---
# A data set
"""


def questions(*texts):
    return "".join(json.dumps({"question": text}) + "\n" for text in texts).encode()


MATHS = {
    "README.md": CARD,
    "main/train-00000-of-00001.jsonl": questions("from train"),
    "main/test-00000-of-00002.jsonl": questions("one of a shard"),
    "main/test-00001-of-00002.jsonl": questions("one of another"),
    "other/data.jsonl": questions("from other"),
}


@pytest.fixture
def asked(tmp_path):
    """Run code with a word, with the cache in a folder of its own; its output, or the error's one line."""

    def run(code, word, **environment):
        usual = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSF"))}
        code = (
            "import sys\nfrom vllmperf.errors import UsageError\ntry:\n"
            + "".join(f"    {line}\n" for line in code.strip().splitlines())
            + "except UsageError as error:\n    print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, word],
            env={
                **usual,
                "HF_HOME": str(tmp_path / "home"),
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                **environment,
            },
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def files(model):
    return {path.name: path.read_bytes() for path in model.iterdir()}


def test_a_model_is_fetched_once_and_then_taken_from_the_cache_without_a_question(asked, files):
    with Hub({"some/model": {**files, "model.safetensors": b"x" * 100}}) as server:
        assert int(asked(COUNT, "some/model", HF_ENDPOINT=server.url)) > 0
        paths = [path for path, _ in server.asked]
        assert any(path.endswith("tokenizer.json") for path in paths)
        assert not any("safetensors" in path for path in paths), "only what a tokenizer needs"
        server.asked.clear()
        assert asked(CHAT, "some/model", HF_ENDPOINT=server.url) == "<|begin|><|user|>x<|assistant|>"
        assert server.asked == []
    assert int(asked(COUNT, "some/model", HF_HUB_OFFLINE="1")) > 0


def test_a_link_to_a_model_is_its_name(asked, files):
    with Hub({"some/model": files}) as server:
        assert int(asked(COUNT, f"{server.url}/some/model", HF_ENDPOINT=server.url)) > 0


def test_offline_the_error_names_what_was_looked_for_and_where(asked, tmp_path):
    said = asked(COUNT, "some/model", HF_HUB_OFFLINE="1")
    assert said.startswith("tokenizer some/model: ")
    assert str(tmp_path / "home" / "hub") in said
    assert "HF_HUB_OFFLINE" in said
    assert "\n" not in said


def test_a_hub_that_is_not_there_is_one_line(asked):
    with Hub({}) as server:
        url = server.url
    said = asked(COUNT, "some/model", HF_ENDPOINT=url)
    assert said.startswith("tokenizer some/model: ")
    assert f"{url} cannot be asked" in said
    assert "\n" not in said


def test_a_model_that_nobody_has_and_one_that_is_gated_say_what_to_do(asked, files):
    with Hub({"some/model": files}, gated=["some/model"]) as server:
        assert "has no such model" in asked(COUNT, "other/model", HF_ENDPOINT=server.url)
        said = asked(COUNT, "some/model", HF_ENDPOINT=server.url)
        assert "only to those with access: set HF_TOKEN" in said


def test_a_private_model_is_fetched_with_the_token(asked, files):
    with Hub({"some/model": files}, token="secret") as server:
        assert "set HF_TOKEN" in asked(COUNT, "some/model", HF_ENDPOINT=server.url)
        assert int(asked(COUNT, "some/model", HF_ENDPOINT=server.url, HF_TOKEN="secret")) > 0


def test_a_data_set_of_the_hub_is_read_split_by_split_as_its_card_says(asked):
    spec = {"dataset_name": "hf", "dataset_path": "openai/gsm8k", "num_prompts": 2}
    with Hub({"datasets/openai/gsm8k": MATHS}) as server:

        def read(**options):
            return asked(PROMPTS, json.dumps({**spec, "options": options}), HF_ENDPOINT=server.url)

        assert json.loads(read(hf_subset="main")) == ["one of a shard", "one of another"]
        assert set(json.loads(read(hf_subset="main", hf_split="train"))) == {"from train"}
        assert "give one of its subsets: main, other" in read()
        assert "for split dev of subset main" in read(hf_subset="main", hf_split="dev")
        server.asked.clear()
        assert json.loads(read(hf_subset="main")) == ["one of a shard", "one of another"]
        of_it = [path for path, _ in server.asked if "gsm8k" in path]
        assert of_it == ["api/datasets/openai/gsm8k"], "its present commit; the files are in the cache"
    offline = asked(PROMPTS, json.dumps({**spec, "options": {"hf_subset": "main"}}), HF_HUB_OFFLINE="1")
    assert json.loads(offline) == ["one of a shard", "one of another"]


def test_any_data_file_may_be_a_link_of_the_hub(asked):
    rows = b'{"prompt": "a"}\n{"prompt": "b"}\n'
    with Hub({"datasets/org/set": {"deep/p.jsonl": rows}}) as server:
        path = f"{server.url}/datasets/org/set/resolve/main/deep/p.jsonl"
        spec = {"dataset_name": "custom", "dataset_path": path, "num_prompts": 2}
        assert json.loads(asked(PROMPTS, json.dumps(spec), HF_ENDPOINT=server.url)) == ["a", "b"]


# ---- which files a split is ----


def chosen(files, subset=None, split="train", card=None):
    return hub.chosen(hub.Repository("a/b", "dataset", "{dataset_path}"), files, card or {}, subset, split)


@pytest.mark.parametrize(
    ("files", "subset", "split", "found"),
    [
        (["a.json", "b.json", "README.md"], None, "train", ["a.json", "b.json"]),
        (["train.jsonl", "test.jsonl"], None, "train", ["train.jsonl"]),
        (
            ["data/train-0.parquet", "data/validation-0.parquet"],
            None,
            "validation",
            ["data/validation-0.parquet"],
        ),
        (["dev.csv", "train.csv"], None, "validation", ["dev.csv"]),
        (["main/test-0.parquet", "other/test-0.parquet"], "main", "test", ["main/test-0.parquet"]),
        (["data/hard-0.parquet", "data/easy-0.parquet"], None, "hard", ["data/hard-0.parquet"]),
        (["x.parquet", "dataset_infos.json"], None, "train", ["x.parquet"]),
    ],
)
def test_without_a_word_of_the_card_files_are_chosen_by_their_names(files, subset, split, found):
    assert chosen(files, subset, split) == found


def test_a_data_set_without_data_files_is_refused():
    with pytest.raises(UsageError, match=r"no \.parquet or \.jsonl"):
        chosen(["script.py"])


BENCH = """
import vllmperf as vp
talks, tokenizer = sys.argv[1].split()
how = {} if tokenizer == "unsaid" else {"tokenizer": tokenizer}
with vp.sim.Server(ttft_ms=1, itl_ms=1, model="some/model") as server:
    run = vp.bench(server, model="some/model", dataset_name="sharegpt", dataset_path=talks, num_prompts=2, **how)
print(run.summary["plan"]["tokenizer"])
"""


@pytest.fixture
def talks(tmp_path):
    turns = [
        {"from": "human", "value": "one two three four"},
        {"from": "gpt", "value": "five six seven eight nine"},
    ]
    path = tmp_path / "talks.json"
    path.write_text(json.dumps([{"conversations": turns}] * 3))
    return path


def test_texts_are_counted_with_the_tokenizer_of_the_model_that_is_named_as_on_the_hub(asked, files, talks):
    with Hub({"some/model": files}) as server:
        assert asked(BENCH, f"{talks} unsaid", HF_ENDPOINT=server.url) == "some/model"
        assert any(path.endswith("tokenizer.json") for path, _ in server.asked)


def test_the_tokenizer_of_the_model_can_be_declined(asked, talks):
    assert asked(BENCH, f"{talks} none", HF_HUB_OFFLINE="1") == "None"


def test_a_model_whose_tokenizer_is_out_of_reach_ends_the_run_before_its_first_request(asked, talks):
    said = asked(BENCH, f"{talks} unsaid", HF_HUB_OFFLINE="1")
    assert said.startswith("the tokenizer of model some/model: ")
    assert "HF_HUB_OFFLINE" in said
