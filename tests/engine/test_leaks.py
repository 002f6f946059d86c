"""The C modules keep no memory and no reference beyond a call. In a process of its own, where nothing else allocates."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Caches of malloc and of Python. Of 1,500 calls a leak is at least 48,000 bytes.
NOISE_BYTES, NOISE_REFERENCES = 40_000, 1_000


@pytest.fixture(scope="module")
def left_behind() -> dict[str, tuple[int, int]]:
    if not hasattr(ctypes.CDLL(None), "mallinfo2") or "LD_PRELOAD" in os.environ:
        pytest.skip("counts bytes with mallinfo2, which needs glibc 2.33 or newer and no other allocator")
    environment = {
        **os.environ,
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(HERE)]),
    }
    done = subprocess.run(
        [sys.executable, HERE / "leak_jobs.py"], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return {name: (int(kept), int(references)) for name, kept, references in rows}


@pytest.mark.slow
def test_one_object_a_call_would_be_seen(left_behind):
    kept, _ = left_behind.pop("a_leak")
    assert kept > NOISE_BYTES


def test_calls_of_the_c_modules_leave_nothing_behind(left_behind):
    left_behind.pop("a_leak", None)
    assert {name: left for name, left in left_behind.items() if left[0] > NOISE_BYTES} == {}
    assert {name: left for name, left in left_behind.items() if left[1] > NOISE_REFERENCES} == {}
