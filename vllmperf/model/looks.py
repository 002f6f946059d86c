"""Looks at a step while it runs, and ends it as soon as it has failed for sure."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from vllmperf import _engine
from vllmperf.model.goodput_test import LOOKS, Limits, judged

NONE = _engine.NONE
INCOMPLETE = _engine.OUTCOMES.index("incomplete")
NS = 1e9


class Looks:
    """Asked after each batch of finished requests; looks at times that double, the last time at the end of the step."""

    def __init__(self, limits: Limits, seconds: float) -> None:
        self.limits, self.cut = limits, False
        self.at_s = [seconds / 2**place for place in range(LOOKS - 1, 0, -1)]
        self.rows: list[NDArray[np.void]] = []

    def __call__(self, batch: _engine.Batch, counters: _engine.Counters) -> bool:
        if self.cut:
            return False
        self.rows.append(np.frombuffer(batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE)))
        elapsed = (time.monotonic_ns() - counters["start_mono_ns"]) / NS if counters["start_mono_ns"] else 0.0
        if not self.at_s or elapsed < self.at_s[0]:
            return False
        while self.at_s and elapsed >= self.at_s[0]:
            self.at_s.pop(0)
        # Requests that are still out are later than those that are back: a pass cannot be told before the end, a
        # failure can.
        requests = np.concatenate(self.rows)
        self.cut = judged(requests, self.limits).verdict == "fail"
        return self.cut


def decided(requests: NDArray[np.void], limits: Limits) -> NDArray[np.bool_]:
    """Which requests say something: ended by themselves, or out for longer than the SLO allows for the first token. The
    others were cut, at the end of the step, while they could still have kept it."""
    done: NDArray[np.bool_] = requests["outcome"] != INCOMPLETE
    if limits.ttft_ms is None:
        return done
    first = np.where(requests["first_token_ns"] == NONE, requests["end_ns"], requests["first_token_ns"])
    late: NDArray[np.bool_] = (first - requests["scheduled_ns"]) / 1e6 > limits.ttft_ms
    return done | late
