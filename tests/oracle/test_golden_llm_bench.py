"""llm_bench against the recorded runs of the originals, case by case.

The recordings are not part of this checkout: they are looked for in $VLLMPERF_SHARED, else in ../shared.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vllmperf.dropin.llm_bench import tables
from vllmperf.dropin.llm_bench.stats import Stats

ROOT = Path(__file__).parents[2]
GOLDEN = Path(os.environ.get("VLLMPERF_SHARED", ROOT.parent / "shared")) / "golden_bench"
PROFILES = {"llm_bench-2024-10": "2024-10", "llm_bench-2026-06": "2026-06"}
CASES = [
    (tool, folder.parent.name)
    for tool in PROFILES
    for folder in sorted(GOLDEN.glob(f"{tool}/*/cmd.json"))
] or [("none", "none")]  # fmt: skip

pytestmark = pytest.mark.skipif(
    not (GOLDEN / "compare.py").is_file(),
    reason=f"no recorded runs: {GOLDEN} has no compare.py (set VLLMPERF_SHARED)",
)


@pytest.mark.parametrize(("tool", "case"), CASES, ids="/".join)
def test_the_recorded_run_is_reproduced(tool, case):
    ours = f"{sys.executable} {ROOT / 'scripts' / 'llm_bench.py'} --profile {PROFILES[tool]}"
    words = [sys.executable, "compare.py", ".", "--tool", tool, "--case", case, "--cmd", ours, "-v"]
    done = subprocess.run(words, cwd=GOLDEN, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("tool", "case"), CASES, ids="/".join)
def test_heads_and_rules_of_the_tables_are_those_that_were_recorded(tool, case):
    recorded = (GOLDEN / tool / case / "stderr.txt").read_text().splitlines()
    stats = Stats()
    stats.add("METRIC", "x", 1.0, 1.0)
    ours = [*tables.requests_table(stats, 80, True), *tables.percentiles_table(stats, 80, True)]
    for line in ours:
        if not line.startswith(("METRIC", " ")):
            assert line in recorded


@pytest.mark.parametrize(("tool", "case"), CASES, ids="/".join)
def test_a_recorded_row_has_the_columns_of_ours(tool, case):
    recorded = (GOLDEN / tool / case / "stderr.txt").read_text().splitlines()
    rows = [line for line in recorded if line.startswith("METRIC   total_latency")]
    stats = Stats()
    for _ in range(54):
        stats.add("METRIC", "total_latency", 84.5, 2.0)
    ours = [tables.requests_table(stats, 80, True)[2], tables.percentiles_table(stats, 80, True)[3]]
    for row, own in zip(rows, ours, strict=True):
        assert [m.end() for m in re.finditer(r"\S+", row)][2:] == [m.end() for m in re.finditer(r"\S+", own)][
            2:
        ]
