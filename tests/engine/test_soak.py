"""scripts/bench/soak and soak_resume in small: they run, and what they look for is not there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[2] / "scripts" / "bench" / "soak"


def test_a_short_soak_finds_no_early_stamp_and_no_failure():
    words = ["--streams", "20", "--tokens", "10", "--itl-ms", "10", "--at", "0.02,0.05"]
    done = subprocess.run([sys.executable, SOAK, *words], capture_output=True, text=True, timeout=120)
    last = done.stdout.splitlines()[-1]
    found = re.fullmatch(
        r"in all (\d+) requests, (\d+) chunks: 0 stamps early, \d+ wake-ups lost, 0 failed", last
    )
    assert found, done.stdout + done.stderr
    assert int(found[1]) > 20
    assert int(found[2]) == 10 * int(found[1])


def test_a_short_run_that_is_killed_and_resumed_has_every_request_once():
    words = ["--requests", "900", "--tokens", "8", "--streams", "30", "--itl-ms", "8", "--kill-at", "50"]
    script = SOAK.with_name("soak_resume")
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "requests in the report: {'completed': 900}" in said
    assert "recorded before the kill, sent again: 0" in said
    assert "by the truth: 0 never answered" in said
