"""What a run of hours keeps does not grow with its requests, nor with the parts that it is made of."""

from __future__ import annotations

import gc
import itertools
import json
import platform
import sqlite3
import subprocess
import sys
import tracemalloc
import weakref

import pytest
from lossy import Lives, recorded

from vllmperf.api.rolling_uploads import RollingUploads
from vllmperf.bucket.place import Place
from vllmperf.datasets import Spec, prompts
from vllmperf.loadgen.recorded import record_run
from vllmperf.loadgen.task import Task
from vllmperf.metrics.rolling import Interval

PROMPTS = 20_000
BYTES_A_PROMPT = 16
"""Three numbers of four bytes, of which the largest part is drawn ahead."""
ROW = Interval(0.0, 60.0, 720, 720, 0, 12.0, 24.0, 50.0, 60.0, 20.0, 21.0, 3)


AFTER_LARGE_BLOCKS = """
import ctypes
from vllmperf.loadgen.allocator import LARGE_BYTES, give_back_large_blocks

assert give_back_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def has_mapping(block):
    # glibc's bit of a block that has a mapping of its own, in the size before it
    return bool(ctypes.c_size_t.from_address(block - 8).value & 2)

libc.free(libc.malloc(24 << 20))
print(has_mapping(libc.malloc(LARGE_BYTES)), has_mapping(libc.malloc(LARGE_BYTES // 2)))
"""


@pytest.fixture
def uncollected():
    """What is gone within the test is gone by itself: the collector of cycles may not come for hours."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def kept_bytes(n: int) -> int:
    """By a data set of n prompts, when its first ones have been made."""
    spec = Spec(dataset_name="random", num_prompts=n, input_len=384, prefix_len=128, output_len=2, seed=1)
    tracemalloc.start()
    try:
        made = prompts(spec)
        assert len(list(itertools.islice(made, 10))) == 10
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_prompts_that_are_drawn_ahead_take_a_few_bytes_each():
    few, many = kept_bytes(PROMPTS), kept_bytes(11 * PROMPTS)
    assert many - few < BYTES_A_PROMPT * 10 * PROMPTS


def test_a_part_of_a_run_is_gone_when_the_next_one_begins(uncollected, tmp_path, port):
    """A run that waits for its server has a session, a feeder and their prompts for each part."""
    lives = Lives(tmp_path, port)
    lives.begin()
    earlier: list[weakref.ref[object]] = []
    still_there: list[int] = []
    path = tmp_path / "run"

    def watch(session, _before):
        still_there.append(sum(one() is not None for one in earlier))
        earlier.extend([weakref.ref(session), weakref.ref(session._source)])
        return lambda _turn: None

    def notice(words):
        if "gone" in words:
            lives.begin()

    def progress(_snapshot):
        if len(earlier) == 2 and len(recorded(path)) >= 20:
            lives.end()

    settings = {"num_prompts": 60, "request_rate": 60, "output_len": 2, "on_server_loss": "wait"}
    try:
        run = record_run(
            Task.of({"base_url": lives.url, **settings}), path, progress, notice=notice, watch=watch
        )
    finally:
        lives.end()
    assert run.recording.state == "finished"
    assert still_there == [0, 0]


def test_what_goes_into_a_bucket_each_minute_reads_no_requests(tmp_path, monkeypatch):
    def refused(*_args: object, **_more: object):
        raise AssertionError("the run file was opened")

    monkeypatch.setattr(sqlite3, "connect", refused)
    uploads = RollingUploads(tmp_path / "run.vllmperf", Place("results", "", "http://127.0.0.1:9"))
    for _ in range(3):
        uploads(ROW)
    rolling = json.loads((tmp_path / "run.rolling.json").read_text())
    assert (len(rolling["intervals"]), rolling["done"]) == (3, 3 * ROW.done)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_large_block_has_a_mapping_of_its_own_also_after_larger_ones_were_freed():
    words = [sys.executable, "-c", AFTER_LARGE_BLOCKS]
    assert subprocess.check_output(words, text=True, timeout=60).split() == ["True", "False"]
