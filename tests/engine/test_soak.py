"""scripts/bench/soak in small: it runs, and what it looks for is not there."""

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
