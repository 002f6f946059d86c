"""Tells at each --report-interval what the run did in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import vllmperf._engine as _engine
from vllmperf.loadgen.session import NS, Turn
from vllmperf.metrics.rolling import Interval, interval
from vllmperf.metrics.view import COMPLETED

RECORD, GAP = np.dtype(_engine.RECORD_DTYPE), np.dtype(_engine.GAP_DTYPE)

Tell = Callable[[Interval], object]


class Rolling:
    """A subscriber. An interval is told with the first turn that has all that ended in it, up to a second later; the last one
    with the last turn.

    every_s: length of an interval. from_ns: the time of the run at which this part of it begins, of one that is resumed.
    """

    def __init__(self, every_s: float, tell: Tell, from_ns: int = 0) -> None:
        self._every_ns, self._tell, self._from_ns = round(every_s * NS), tell, from_ns
        self._start_ns = from_ns
        self._rows = [np.zeros(0, dtype=RECORD)]
        self._gaps = [np.zeros(0, dtype=GAP)]
        self._known_ns = from_ns

    def __call__(self, turn: Turn) -> None:
        self._take(turn.batch)
        in_flight = turn.counters["in_flight"]
        if turn.state != "running":
            self._known_ns = max(int(rows["end_ns"].max(initial=-1)) for rows in self._rows) + 1
        while (edge_ns := (self._start_ns // self._every_ns + 1) * self._every_ns) <= self._known_ns:
            self._report(edge_ns, in_flight)
        if turn.state != "running" and any(map(len, self._rows)):
            self._report(self._known_ns, in_flight)
        # what ended before now will have come with the next turn
        self._known_ns = self._from_ns + turn.elapsed_ns

    def _take(self, batch: _engine.Batch) -> None:
        rows = np.frombuffer(batch["records"], dtype=RECORD).copy()
        if not len(rows):
            return
        rows["end_ns"] += self._from_ns
        self._rows.append(rows)
        self._gaps.append(np.frombuffer(batch["gaps"], dtype=GAP))

    def _report(self, end_ns: int, in_flight: int) -> None:
        rows, gaps = np.concatenate(self._rows), np.concatenate(self._gaps)
        ended = rows["end_ns"] < end_ns
        has_ended = np.repeat(ended, rows["n_gaps"])
        counts = np.repeat(rows["outcome"] == COMPLETED, rows["n_gaps"])
        gaps_ns = np.ascontiguousarray(gaps["ns"][has_ended & counts], dtype=np.float32)
        self._rows, self._gaps = [rows[~ended]], [gaps[~has_ended]]
        start_ns, self._start_ns = self._start_ns, end_ns
        self._tell(interval(rows[ended], gaps_ns, start_ns, end_ns, in_flight))
