"""When a run that goes on "until TTFT p99 is known to ±5 %" has seen enough.

Checking again and again until an interval is narrow ends, more often than not, at a check whose interval is narrower than it
should be. Three things keep what is promised: there are few checks (each at half as many requests again), `intervals` gives none
before a run is long against its own memory, and the interval that counts and that is shown is wider by `WIDER`.
docs/intervals.md has the coverage with and without.
"""

from __future__ import annotations

import math

from vllmperf.metrics.intervals import Interval, needed

GROWTH = 1.5
"""From one check to the next."""
FIRST = 100
"""Completed requests before the first check, at least."""
WIDER = 1.2
"""Found by simulation (scripts/bench/coverage)."""


def first_check(percentile: float | None = None) -> int:
    """Completed requests at the first check. percentile: of the metric (0 to 100), None for a mean or a rate."""
    return max(FIRST, needed(percentile) or 0)


def next_check(requests: int) -> int:
    """After a check at so many requests."""
    return math.ceil(GROWTH * requests)


def widened(value: float, interval: Interval) -> Interval:
    """The interval of a run that was stopped by its precision. value: the metric itself."""
    if interval.low is None or interval.high is None:
        return interval
    low, high = value - WIDER * (value - interval.low), value + WIDER * (interval.high - value)
    return interval._replace(low=low, high=high)


def is_precise(value: float, interval: Interval, share: float) -> bool:
    """Whether half of the widened interval is at most that share of the value."""
    half = widened(value, interval).half
    return half is not None and half <= share * abs(value)
