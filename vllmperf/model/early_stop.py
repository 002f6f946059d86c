"""EarlyStop at a step while it runs, and ends it as soon as it has failed for sure, or is far from failing."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.loadgen.subscribers import DRAIN
from vllmperf.model.slo import CLEAR, LOOKS, Limits, has_room, judged, used
from vllmperf.record.table import Requests

NONE = _engine.NONE
INCOMPLETE = _engine.OUTCOMES.index("incomplete")
NS = 1e9


CLEAR_REQUESTS = 100
STEADY = 1.5
"""No more requests are out than this many times their mean: the queue is not filling."""


class EarlyStop:
    """Asked after each batch of finished requests; looks at times that double, the last time at the end of the step.

    early: a step that is clearly fine ends early, too. Only while rates are doubled: near the capacity the queue takes
    minutes to fill, and until then everything looks fine.
    """

    def __init__(self, limits: Limits, seconds: float, early: bool = False) -> None:
        self.limits, self.early = limits, early
        self.cut = self.cleared = False
        self.at_s = [seconds / 2**place for place in range(LOOKS - 1, 0, -1)]
        self.rows: list[NDArray[np.void]] = []

    def __call__(self, batch: _engine.Batch, counters: _engine.Counters) -> bool | str:
        if self.cut or self.cleared:
            return False
        self.rows.append(np.frombuffer(batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE)))
        elapsed = (time.monotonic_ns() - counters["start_mono_ns"]) / NS if counters["start_mono_ns"] else 0.0
        if not self.at_s or elapsed < self.at_s[0]:
            return False
        while self.at_s and elapsed >= self.at_s[0]:
            self.at_s.pop(0)
        return self.look(np.concatenate(self.rows), counters["in_flight"], elapsed)

    def look(self, requests: Requests, in_flight: int, elapsed_s: float) -> bool | str:
        """Judge what is back. Requests that are still out are later than those: a failure can be told without them, a pass
        only where they are as few as ever and the others far from the limits."""
        self.cut = judged(requests, self.limits).verdict == "fail"
        if not self.cut and self.early:
            self.cleared = self._clear(requests, in_flight, elapsed_s)
        return DRAIN if self.cleared else self.cut

    def _clear(self, requests: Requests, in_flight: int, elapsed_s: float) -> bool:
        if len(requests) < CLEAR_REQUESTS or judged(requests, self.limits).verdict != "pass":
            return False
        usual = float(np.sum(requests["end_ns"] - requests["sent_ns"])) / NS / elapsed_s
        ordered = requests[np.argsort(requests["scheduled_ns"], kind="stable")]
        return in_flight <= STEADY * usual + 2 and has_room(used(ordered, self.limits), self.limits, CLEAR)


def decided(requests: Requests, limits: Limits) -> NDArray[np.bool_]:
    """Which requests say something: ended by themselves, or out for longer than the SLO allows for the first token. The
    others were cut, at the end of the step, while they could still have kept it."""
    done: NDArray[np.bool_] = requests["outcome"] != INCOMPLETE
    if limits.ttft_ms is None:
        return done
    first = np.where(requests["first_token_ns"] == NONE, requests["end_ns"], requests["first_token_ns"])
    late: NDArray[np.bool_] = (first - requests["scheduled_ns"]) / 1e6 > limits.ttft_ms
    return done | late
