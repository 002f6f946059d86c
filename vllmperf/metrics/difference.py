"""How much a metric changed from one run to another, with its 95 % interval, and whether that is more than chance.

Independent runs: the interval of the difference comes from those of both sides (MOVER: Zou and Donner 2008, for ratios Donner
and Zou 2012), so that it works for everything that `intervals` gives. Paired runs, whose requests are the same one by one: from
the differences of requests, which no longer hold what both runs share. docs/intervals.md has false alarms and power.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vllmperf.metrics.distributions import student_t, student_tail
from vllmperf.metrics.intervals import LEVEL, Interval, mean_interval, percentile_intervals
from vllmperf.metrics.long_run import LongRun
from vllmperf.metrics.statistics import quantiles

Floats = NDArray[np.float64]

CHANCE = 1 - LEVEL
"""Share of comparisons of equal runs that may be taken for a change."""


class Estimate(NamedTuple):
    """A metric of one run and its interval."""

    value: float
    interval: Interval


class Difference(NamedTuple):
    """Second less first. low and high: 95 % interval; share_low and share_high: of the change as a share of the first; p: how
    often chance alone gives as large a difference. All None where a side has no interval, shares also where the first is
    not clearly above 0."""

    change: float
    low: float | None = None
    high: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    p: float | None = None


SAME = Difference(0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
"""Of a run and itself, however few its requests."""


def difference(first: Estimate, second: Estimate) -> Difference:
    """Of two independent runs."""
    a, b, change = first.interval, second.interval, second.value - first.value
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Difference(change)
    down = math.hypot(second.value - b.low, a.high - first.value)
    up = math.hypot(b.high - second.value, first.value - a.low)
    low, high = _share(first.value, a.low, a.high, second.value, b.low, b.high)
    return Difference(change, change - down, change + up, low, high, _p(change, down, up, _degrees(a, b)))


def paired_mean(first: Floats, second: Floats, *, in_flight: Floats | None = None) -> Difference:
    """Of the means of two runs that sent the same requests at the same times: one value a request, in order of send."""
    if np.array_equal(first, second):
        return SAME
    interval = mean_interval(second - first, in_flight=in_flight)
    return _paired(float(np.mean(first)), float(np.mean(second - first)), interval)


def paired_percentile(
    first: Floats, second: Floats, percentile: float, *, in_flight: Floats | None = None
) -> Difference:
    """Of a percentile (0 to 100) of two such runs: how much each request moves it is about its flag (beyond or not) over the
    density there (Bahadur 1966), which the widths of both sides' intervals tell."""
    if np.array_equal(first, second):
        return SAME
    sides = [_moves(side, percentile, in_flight) for side in (first, second)]
    (at_first, moves_first), (at_second, moves_second) = sides
    change = at_second - at_first
    if moves_first is None or moves_second is None:
        return Difference(change)
    moves = moves_second - moves_first
    return _paired(at_first, change, mean_interval(moves - moves.mean() + change, in_flight=in_flight))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """p values corrected for being several (Holm 1979): at most 5 % of comparisons of equal runs have one below 0.05.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    known = sorted((value, i) for i, value in enumerate(p) if value is not None)
    found: list[float | None] = [None] * len(p)
    most = 0.0
    for place, (value, i) in enumerate(known):
        most = max(most, min((len(known) - place) * value, 1.0))
        found[i] = most
    return found


def _paired(at_first: float, change: float, interval: Interval) -> Difference:
    if interval.low is None or interval.high is None:
        return Difference(change)
    p = _p(change, change - interval.low, interval.high - change, interval.degrees)
    if at_first <= 0:
        return Difference(change, interval.low, interval.high, p=p)
    return Difference(
        change, interval.low, interval.high, interval.low / at_first, interval.high / at_first, p
    )


def _moves(side: Floats, percentile: float, in_flight: Floats | None) -> tuple[float, Floats | None]:
    """A percentile, and by how much each request moves it; None where the run cannot carry it."""
    (value,) = quantiles(side, [percentile / 100])
    (interval,) = percentile_intervals(side, [percentile], in_flight=in_flight)
    if interval.low is None or interval.high is None:
        return value, None
    below = (side <= value).astype(np.float64)
    run = LongRun.of(below - below.mean())
    half_of_share = student_t((1 + LEVEL) / 2, run.degrees) * run.error
    sparsity = (interval.high - interval.low) / (2 * half_of_share) if half_of_share > 0 else 0.0
    return value, -sparsity * (below - below.mean())


def _share(
    first: float, first_low: float, first_high: float, second: float, low: float, high: float
) -> tuple[float | None, float | None]:
    """Of second / first − 1."""
    if first_low <= 0 or low < 0:
        return None, None
    product = first * second
    down = first_high * (2 * first - first_high)
    up = first_low * (2 * first - first_low)
    if down <= 0:
        return None, None
    least = (product - math.sqrt(max(product**2 - low * (2 * second - low) * down, 0.0))) / down
    most = (product + math.sqrt(max(product**2 - high * (2 * second - high) * up, 0.0))) / up
    return least - 1, most - 1


def _degrees(a: Interval, b: Interval) -> float:
    """Of the difference (Welch and Satterthwaite)."""
    wide = [((i.half or 0.0) / student_t((1 + LEVEL) / 2, i.degrees)) ** 2 for i in (a, b)]
    if sum(wide) == 0:
        return a.degrees
    return sum(wide) ** 2 / sum(w**2 / i.degrees for w, i in zip(wide, (a, b), strict=True))


def _p(change: float, down: float, up: float, degrees: float) -> float:
    """0 is at the edge of the interval at p = 0.05, whichever side it is on."""
    towards_0 = down if change > 0 else up
    if towards_0 <= 0:
        return 1.0 if change == 0 else 0.0
    t = abs(change) / towards_0 * student_t((1 + LEVEL) / 2, degrees)
    return 2 * student_tail(t, degrees)
