"""Recorded runs of SGLang's client: scripts/benchmark.py must send, print and write the same.

The folder is not part of this repository: $VLLMPERF_SHARED/golden_bench, or ../shared/golden_bench beside the checkout.
"""

import json
import os
import pickle
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from vllmperf.datasets.chance import Chance
from vllmperf.dropin.benchmark_serving import arrivals

CHECKOUT = Path(__file__).parents[2]
GOLDEN = Path(os.environ.get("VLLMPERF_SHARED", CHECKOUT.parent / "shared")) / "golden_bench"
TOOL = "sglang-0.4.4.post1"
DRAWN = "oai_gsp"
"""Its prompts come from a vocabulary in an order that changes with every process of the original."""

pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
if not (GOLDEN / TOOL).is_dir():
    pytest.skip(f"{GOLDEN / TOOL} is not there: set VLLMPERF_SHARED", allow_module_level=True)


@pytest.fixture
def cases(tmp_path):
    """A copy of the cases, as recorded today: a file that has its day in its name has ours."""
    folder = tmp_path / "golden"
    shutil.copytree(GOLDEN / TOOL, folder / TOOL)
    for path in folder.rglob("vllm_1124_*"):
        path.rename(path.with_name(path.name.replace("_1124_", f"_{datetime.now():%m%d}_")))
    return folder


def compared(cases, report, *names):
    script = CHECKOUT / "scripts" / "benchmark.py"
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"
    words = [sys.executable, str(GOLDEN / "compare.py"), str(cases), "--data", str(GOLDEN / "data")]
    words += ["--cmd", command, "--json", str(report), "--no-sched", "--case", *names]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    print(done.stdout)
    return {row["case"]: row for row in json.loads(report.read_text())}


def sent(case):
    """The bodies of the measured requests in the order of sending."""
    rows = [json.loads(line) for line in (GOLDEN / TOOL / case / "requests.jsonl").read_text().splitlines()]
    generating = [row for row in rows if row["path"] not in ("/flush_cache", "/get_server_info")][1:]
    return [json.loads(row["body"]) for row in sorted(generating, key=lambda row: row["conn"])]


def test_requests_output_and_files_are_those_of_the_original(cases, tmp_path):
    names = sorted({path.name for path in (GOLDEN / TOOL).iterdir()} - {DRAWN})
    rows = compared(cases, tmp_path / "report.json", *names)
    assert sorted(rows) == names
    assert {name: row["notes"] for name, row in rows.items() if not row["equal"]} == {}


def test_prompts_with_drawn_prefixes_come_from_the_originals_cache(cases, tmp_path):
    bodies = sent(DRAWN)
    cache = (
        tmp_path / "home/.cache/sglang/benchmark/gen_shared_prefix_3_4_40_10_8_PreTrainedTokenizerFast.pkl"
    )
    cache.parent.mkdir(parents=True)
    lengths = [64] * 11 + [795 - 11 * 64]
    kept = [(body["prompt"], n, body["max_tokens"]) for body, n in zip(bodies, lengths, strict=True)]
    cache.write_bytes(pickle.dumps(kept))
    file = cases / TOOL / DRAWN / "cmd.json"
    case = json.loads(file.read_text())
    file.write_text(json.dumps({**case, "env": {"HOME": str(tmp_path / "home")}}))
    row = compared(cases, tmp_path / "report.json", DRAWN)[DRAWN]
    assert (row["req"], row["body"], row["hdr"], row["file"], row["rc"]) == ("ok", "exact", "ok", "ok", "ok")


def test_groups_of_drawn_prefixes_are_shuffled_as_in_the_original(tokens, tmp_path, monkeypatch):
    from vllmperf.dropin.sglang import shared_prefix

    monkeypatch.setenv("HOME", str(tmp_path))
    asked = shared_prefix.Groups(3, 4, 40, 10, 8)
    ours = [sample.prompt for sample in shared_prefix.samples(asked, tokens, Chance(1).python)]
    theirs = [body["prompt"] for body in sent(DRAWN)]
    assert groups(ours) == groups(theirs)


def groups(prompts):
    """The number of each prompt's group, in order of appearance."""
    begins = [prompt.split("\n\n")[0] for prompt in prompts]
    seen = list(dict.fromkeys(begins))
    return [seen.index(begin) for begin in begins]


def test_gaps_at_a_finite_rate_are_those_of_the_original_bit_for_bit():
    case = json.loads((GOLDEN / TOOL / "vllm_rate20_conc40" / "schedule.json").read_text())
    planned = arrivals.drawn("sglang", Chance(7).numpy, 40, 20.0, 1.0)
    assert np.array_equal(planned.times_s, case["send_s"])
