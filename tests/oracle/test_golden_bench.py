"""Runs of the original clients, kept as data: ours must send and print the same.

The folder (server, comparer, recorded cases) is not part of this repository: $VLLMPERF_SHARED/golden_bench, or
../shared/golden_bench beside the checkout.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CHECKOUT = Path(__file__).parents[2]
GOLDEN = Path(os.environ.get("VLLMPERF_SHARED", CHECKOUT.parent / "shared")) / "golden_bench"
TOOLS = {"vllm-0.6.4.post1": "vllm-0.6", "vllm-0.8.5": "vllm-0.8", "vllm-0.33.0": "vllm-2026"}
PARTS = 5
"""Of a tool's cases, each a test: one after the other they wait for minutes."""

pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
if not (GOLDEN / "compare.py").is_file():
    pytest.skip(
        f"{GOLDEN} is not there: set VLLMPERF_SHARED to the folder that holds golden_bench",
        allow_module_level=True,
    )


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("tool", TOOLS)
def test_requests_output_and_files_are_those_of_the_original(tool, part, tmp_path):
    cases = sorted(file.parent.name for file in (GOLDEN / tool).glob("*/cmd.json"))[part::PARTS]
    # Times depend on how busy the machine is: what is planned is compared below, exactly.
    script = CHECKOUT / "scripts" / "benchmark_serving.py"
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} --profile {TOOLS[tool]}"
    report = tmp_path / "report.json"
    words = [sys.executable, str(GOLDEN / "compare.py"), str(GOLDEN), "--tool", tool, "--cmd", command]
    words += ["--json", str(report), "--no-sched", "--case", *cases]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    rows = json.loads(report.read_text())
    print(done.stdout)
    assert [row["case"] for row in rows] == cases != []
    assert {row["case"]: row["notes"] for row in rows if not row["equal"]} == {}


def finite_cases():
    for tool in TOOLS:
        for folder in sorted((GOLDEN / tool).iterdir()):
            case = json.loads((folder / "cmd.json").read_text())
            if case.get("finite") and (folder / "schedule.json").is_file():
                yield pytest.param(tool, folder, case, id=f"{tool}/{folder.name}")


@pytest.mark.parametrize(("tool", "folder", "case"), list(finite_cases()))
def test_planned_times_are_those_of_the_original_bit_for_bit(tool, folder, case):
    planned = json.loads((folder / "schedule.json").read_text())["send_s"]
    made = subprocess.run(
        [sys.executable, "-c", PLAN, TOOLS[tool], *(filled(word, case) for word in case["argv"])],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(made.stdout.splitlines()[-1])
    assert np.array_equal(found, planned), np.max(np.abs(np.asarray(found) - planned))


def filled(word, case):
    values = {
        "{TOKENIZER}": str(GOLDEN / "data" / case["tokenizer"]),
        "{DATA}": str(GOLDEN / "data"),
        "{BASE_URL}": "http://127.0.0.1:1",
        "{OUT}": "out",
    }
    for name, value in values.items():
        word = word.replace(name, value)
    return word


PLAN = """
import json, sys
from vllmperf.dropin.benchmark_serving import arrivals, data, flags
from vllmperf.dropin.benchmark_serving.backends import TABLE
from vllmperf.datasets.chance import Chance
from vllmperf.tokenizer.tokens import Tokens

profile = flags.PROFILES[sys.argv[1]]
args = flags.parse(profile, sys.argv[2:])
backend = TABLE[profile.version][args.backend]
data.settle(args, profile, backend)
chance = Chance(args.seed)
samples = data.samples(args, profile, Tokens(args.tokenizer), chance)
ramp_up = None
if getattr(args, "ramp_up_strategy", None):
    ramp_up = arrivals.RampUp(args.ramp_up_strategy, args.ramp_up_start_rps, args.ramp_up_end_rps)
if getattr(args, "self_timed", False):
    planned = arrivals.of_trace(samples)
else:
    planned = arrivals.drawn(profile.version, chance.numpy, len(samples), args.request_rate, args.burstiness, ramp_up)
print(json.dumps(planned.times_s.tolist()))
"""
