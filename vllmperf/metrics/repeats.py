"""Several runs of one plan with different seeds: the mean over the runs with its interval, and whether they differ more than
each run's own interval allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from vllmperf.metrics.difference import Estimate
from vllmperf.metrics.distributions import f_tail, student_t
from vllmperf.metrics.intervals import LEVEL, Interval

DIFFER = 0.01
"""Runs are taken to differ when chance would make them differ as much once in a hundred times."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Whether runs differ. p: how often chance alone makes runs with these intervals differ as much; ratio: their variance
    over what the intervals allow. Both None with fewer than two runs that have an interval."""

    p: float | None
    ratio: float | None

    @property
    def is_beyond_chance(self) -> bool:
        return self.p is not None and self.p < DIFFER


def repeat_interval(values: Sequence[float]) -> Interval:
    """Of the mean over runs (one value each), by Student's t; needs two runs."""
    n = len(values)
    if n < 2:
        return Interval(None, None, float(n), 2)
    mean = fmean(values)
    half = student_t((1 + LEVEL) / 2, n - 1) * stdev(values) / math.sqrt(n)
    return Interval(mean - half, mean + half, float(n), None, n - 1)


def spread(runs: Sequence[Estimate]) -> Spread:
    """Welch's test of equal means (1951), with each run's variance and degrees of freedom taken from its interval. Cochran's
    Q with the correction for variances that are estimates themselves."""
    known = [(run.value, half, run.interval.degrees) for run in runs if (half := run.interval.half)]
    k = len(known)
    if k < 2:
        return Spread(None, None)
    weights = [(student_t((1 + LEVEL) / 2, degrees) / half) ** 2 for _, half, degrees in known]
    total = sum(weights)
    centre = sum(w * value for w, (value, _, _) in zip(weights, known, strict=True)) / total
    q = sum(w * (value - centre) ** 2 for w, (value, _, _) in zip(weights, known, strict=True)) / (k - 1)
    known_less = sum(
        (1 - w / total) ** 2 / degrees for w, (_, _, degrees) in zip(weights, known, strict=True)
    )
    ratio = q / (1 + 2 * (k - 2) / (k * k - 1) * known_less)
    return Spread(f_tail(ratio, k - 1, (k * k - 1) / (3 * known_less)), ratio)
