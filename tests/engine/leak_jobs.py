"""What calls of the C modules' functions leave behind; test_leaks runs it in a process of its own.

Every allocation goes through malloc (PYTHONMALLOC), so that mallinfo2 sees Python's objects and the core's memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from runs import config, feed

from vllmperf import _engine, _sim
from vllmperf.sim.config import checked

WARM_UP, MANY, SOME = 20, 1500, 30


class Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def bytes_in_use() -> int:
    gc.collect()
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo
    info = mallinfo()
    return int(info.uordblks) + int(info.hblkhd)


def fails(function: Callable[..., Any], *arguments: Any) -> None:
    with contextlib.suppress(ValueError, TypeError, OverflowError, OSError, RuntimeError):
        function(*arguments)


# ---- jobs ----

FLOATS = np.arange(1000.0)
STREAM = b'event: a\ndata: {"x": 1}\n\ndata: {"y":\ndata: 2}\n\n: no\n\ndata: [DO'
CHUNK = json.dumps(
    {
        "choices": [
            {"index": 0, "delta": {"content": "a\n", "reasoning": "b", "tool_calls": [{"name": "f"}]}},
            {"index": 1, "text": [{"text": "c"}], "finish_reason": "stop", "token_ids": [1, 2]},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
        "error": {"message": "x"},
    }
).encode()


def statistics() -> None:
    _engine.quantile(FLOATS, [0.1, 0.9])
    _engine.quantile(FLOATS.astype(np.float32), (0.5,))
    _engine.moments(FLOATS)
    for wrong in ((FLOATS, [2]), (FLOATS, ["a"]), (FLOATS[::2], [0.5]), (b"a", [0.5]), (FLOATS, 5)):
        fails(_engine.quantile, *wrong)
    fails(_engine.moments, np.arange(3))


def histogram() -> None:
    one, other = _engine.Histogram(), _engine.Histogram()
    for values in (5, FLOATS, FLOATS.astype(np.float32), np.arange(5)):
        one.add(values)
    other.merge(one)
    _engine.Histogram.unpack(other.pack())
    assert one.count == other.count
    assert one.min <= one.quantile(0.5) <= one.max
    assert one.mean >= one.std > 0
    for function, wrong in (
        (one.add, np.array([np.nan])),
        (one.add, 2**70),
        (one.add, "a"),
        (one.merge, 5),
        (one.quantile, 5),
        (_engine.Histogram.unpack, b"no"),
        (_engine.Histogram, 5),
    ):
        fails(function, wrong)


def streams() -> None:
    _engine.sse_parse([STREAM[:9], STREAM[9:]])
    _engine.sse_parse([STREAM], end=False)
    fails(_engine.sse_parse, [b"data: " + b"x" * 100], 10)
    fails(_engine.sse_parse, [5])
    _engine.delta_scan(CHUNK)
    _engine.delta_scan(b"[DONE]")
    for wrong in (b"{", b'{"choices": [{"text": "a"}]', "text", 5):
        fails(_engine.delta_scan, wrong)


def scanner() -> None:
    lines = _engine.LineScanner([b"needle", b"pin"])
    assert lines.find(b"a needle\nhay\na pin\n" * 200)[1] == 600
    for wrong in ([], [b""], ["text"], 5):
        fails(_engine.LineScanner, wrong)
    fails(lines.find, "text")


def refused() -> None:
    for changes in ({"threads": -1}, {"threads": 2**70}, {"url": 5}, {"headers": ["a", 5]}, {"unknown": 1}):
        fails(_engine.Engine, config(**changes))


def not_started() -> None:
    engine = _engine.Engine(config())
    feed(engine, 5)
    fails(engine.feed, b"a", b"123")
    fails(engine.feed, b"a", np.array([0, 1]), np.array([2**62]))
    fails(engine.drain, "soon")
    engine.counters()
    engine.histograms()
    engine.close()
    fails(engine.counters)
    _engine.Engine(config())


def simulator() -> None:
    server = _sim.Server(checked({"faults": ["drop@at=3"], "port": 0}))
    server.start()
    fails(server.start)
    server.set_ready(False)
    assert server.running
    assert server.port in range(1, 65536)
    assert server.stats()["requests"] == 0
    server.stop()
    for wrong in ({"faults": ["nonsense"]}, {"ttft_ms": "soon"}):
        fails(_sim.Server, {**checked({}), **wrong})
    fails(_sim.Server, {})


def replay() -> None:
    settings, four = checked({"mode": "batching", "num_gpu_blocks": 64}), np.full(4, 4)
    _sim.replay(settings, np.arange(4), four, four, four, four, four, 0, True)
    _sim.replay(settings, None, four, four, None, None, None, 2, False)
    for wrong in ((None, four, four[:2]), (four[::-1].astype(float), four, four), (None, -four, four)):
        fails(_sim.replay, settings, *wrong, None, None, None, 1, True)
    fails(_sim.replay, {}, None, four, four, None, None, None, 1, True)


def run_of_the_engine(url: str) -> None:
    settings = config(url=url + "/v1/completions", keep_text=True, keep_stamps=True, keep_events=True)
    engine = _engine.Engine(settings)
    feed(engine, 4, b'{"prompt": [1], "max_tokens": 3, "stream": true}')
    engine.feed_end()
    engine.start()
    while engine.drain(1) is not None:
        pass
    engine.histograms()
    engine.close()


def imported_again() -> None:
    for name in ("vllmperf._engine", "vllmperf._sim"):
        kept = sys.modules.pop(name)
        importlib.import_module(name)
        sys.modules[name] = kept


# ---- the whole ----

LEAK: list[bytes] = []


def a_leak() -> None:
    LEAK.append(bytes(1))


def singletons() -> int:
    """References to objects that are never freed, so that nothing else would show one too many."""
    return sum(sys.getrefcount(one) for one in (None, True, False, ()))


def left_behind(job: Callable[[], None], calls: int) -> tuple[int, int]:
    """Bytes and references of the better of two rounds: a cache may grow in one, a leak grows in both."""
    for _ in range(WARM_UP):
        job()
    rounds = []
    for _ in range(2):
        before = bytes_in_use(), singletons()
        for _ in range(calls):
            job()
        rounds.append((bytes_in_use() - before[0], abs(singletons() - before[1])))
    return min(kept for kept, _ in rounds), min(references for _, references in rounds)


def main() -> None:
    server = _sim.Server(checked({"port": 0, "ttft_ms": 0, "itl_ms": 0}))
    server.start()
    url = f"http://127.0.0.1:{server.port}"
    for job in (a_leak, statistics, histogram, streams, scanner, refused, replay):
        print(job.__name__, *left_behind(job, MANY))
    for job in (not_started, simulator, imported_again):
        print(job.__name__, *left_behind(job, SOME))
    print("run_of_the_engine", *left_behind(lambda: run_of_the_engine(url), SOME))


if __name__ == "__main__":
    main()
