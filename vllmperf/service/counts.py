"""Counts what a run's session gives into the buckets of /metrics, for the worker's `histograms` lines."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.loadgen.session import Turn
from vllmperf.metrics.definitions import per_request
from vllmperf.metrics.view import COMPLETED, NS, Rows
from vllmperf.service.series import BOUNDS_S

EVERY_S = 2.0
RECORD, GAP = np.dtype(_engine.RECORD_DTYPE), np.dtype(_engine.GAP_DTYPE)
OF_SESSION = {"sent": "sent", "chunks": "chunks", "coalesced": "coalesced", "cpu_s": "cpu_s"}
"""Keys of a line, and the engine's counters that they add up."""
LAGS = ("schedule_lag", "client_lag")
HEAD_WORDS, PER_OCTAVE = 10, 1024
"""Of a histogram's image, and of its bins."""

Line = dict[str, Any]


class Buckets:
    """A histogram that only grows."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_ns = np.array(bounds_s) * NS
        self._counts = np.zeros(len(bounds_s) + 1, dtype=np.int64)
        self._sum_ns = 0.0

    def add(self, times_ns: NDArray[np.floating[Any]]) -> None:
        """Times; NaN for one that did not happen."""
        known = times_ns[~np.isnan(times_ns)]
        places = np.searchsorted(self._bounds_ns, known, side="left")  # a bound is in its own bucket
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum_ns += float(known.sum(dtype=np.float64))

    def line(self) -> Line:
        *buckets, count = np.cumsum(self._counts).tolist()
        return {"count": count, "sum_s": self._sum_ns / NS, "buckets": buckets}


class Counts:
    """A subscriber of each session of a run, one after the other: all of it is counted from the run's beginning on.

    tell: gets a line every EVERY_S and with the end of each session.
    """

    def __init__(self, tell: Callable[[Line], object]) -> None:
        self._tell, self._tell_at = tell, 0.0
        self._times = {name: Buckets(BOUNDS_S[name]) for name in ("ttft", "itl", "e2el")}
        self._outcomes: Counter[str] = Counter()
        self._tokens = {"prompt_tokens": 0, "output_tokens": 0}
        self._before: dict[str, float] = dict.fromkeys(OF_SESSION, 0)
        self._lags_before = {name: _engine.Histogram() for name in LAGS}

    def __call__(self, turn: Turn) -> None:
        self._take(turn.batch)
        is_last = turn.state != "running"
        if is_last or time.monotonic() >= self._tell_at:
            self._tell(self._line(turn))
            self._tell_at = time.monotonic() + EVERY_S
        if is_last:
            self._before = self._of_sessions(turn.counters)
            self._lags_before = self._lags(turn.histograms)

    def _take(self, batch: _engine.Batch) -> None:
        records = np.frombuffer(batch["records"], dtype=RECORD)
        if not len(records):
            return
        for number, n in enumerate(np.bincount(records["outcome"]).tolist()):
            self._outcomes[_engine.OUTCOMES[number]] += n
        is_good = records["outcome"] == COMPLETED
        good = Rows(records[is_good])
        for name in self._tokens:
            self._tokens[name] += good.sum(name) or 0
        for name in ("ttft", "e2el"):
            self._times[name].add(per_request(good, name))
        gaps_ns = np.frombuffer(batch["gaps"], dtype=GAP)["ns"]
        self._times["itl"].add(gaps_ns[np.repeat(is_good, records["n_gaps"])])

    def _line(self, turn: Turn) -> Line:
        lags = self._lags(turn.histograms)
        return {
            "event": "histograms",
            **{name: times.line() for name, times in self._times.items()},
            **{name: in_buckets(lags[name], BOUNDS_S[name]) for name in LAGS},
            "requests": {outcome: n for outcome, n in self._outcomes.items() if n},
            **self._tokens,
            **self._of_sessions(turn.counters),
            "in_flight": turn.counters["in_flight"],
            "memory_bytes": memory_bytes(),
        }

    def _of_sessions(self, counters: Mapping[str, Any]) -> dict[str, float]:
        return {key: self._before[key] + counters[name] for key, name in OF_SESSION.items()}

    def _lags(self, histograms: Mapping[str, _engine.Histogram]) -> dict[str, _engine.Histogram]:
        """Those of the sessions before and of this one."""
        found = {}
        for name in LAGS:
            found[name] = both = _engine.Histogram()
            both.merge(self._lags_before[name])
            if name in histograms:
                both.merge(histograms[name])
        return found


class Bins(NamedTuple):
    """The bins of a histogram of the engine that are not empty, ascending."""

    numbers: NDArray[np.int64]
    times: NDArray[np.int64]

    @property
    def lowest_ns(self) -> NDArray[np.int64]:
        return (self.numbers - self._octaves * PER_OCTAVE) << self._octaves

    @property
    def middle_ns(self) -> NDArray[np.float64]:
        return self.lowest_ns + ((1 << self._octaves) - 1) / 2

    @property
    def _octaves(self) -> NDArray[np.int64]:
        return np.maximum(self.numbers // PER_OCTAVE - 1, 0)


def bins_of(histogram: _engine.Histogram) -> Bins:
    """Of its packed image (csrc/stats/hist.h)."""
    words = np.frombuffer(histogram.pack(), dtype="<u8")[HEAD_WORDS:].astype(np.int64)
    return Bins(words[::2], words[1::2])


def in_buckets(histogram: _engine.Histogram, bounds_s: tuple[float, ...]) -> Line:
    """The engine's histogram of ns with these bounds; a value may be 0.1 % on the wrong side of one."""
    bins = bins_of(histogram)
    below = np.searchsorted(bins.lowest_ns, np.array(bounds_s) * NS, side="right")
    counts = np.concatenate([[0], np.cumsum(bins.times)])[below].tolist()
    total_s = histogram.mean * histogram.count / NS if histogram.count else 0.0
    return {"count": histogram.count, "sum_s": total_s, "buckets": counts}


def memory_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
