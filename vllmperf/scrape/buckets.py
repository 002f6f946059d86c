"""Histograms of Prometheus: differences, sums over replicas, quantiles with the bucket that they are in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from vllmperf.errors import VllmperfError

BEYOND = 20
"""A quantile q needs this over 1 − q values: 40 for the median, 2,000 for P99."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """bounds: upper ones, ascending, the last is infinity; counts: cumulative. total: the sum of all values; None of Ray, which
    adds up the middles of buckets."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    total: float | None

    @property
    def count(self) -> float:
        return self.counts[-1] if self.counts else 0.0

    @property
    def mean(self) -> float | None:
        return None if self.total is None or not self.count else self.total / self.count

    def since(self, before: Histogram | None) -> Histogram:
        """What came after `before`. One that has counted fewer now was started again: then all of it."""
        if before is None or self.count < before.count:
            return self
        _check_bounds(self, before)
        total = None if self.total is None or before.total is None else self.total - before.total
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        return Histogram(self.bounds, counts, total)

    def quantile(self, q: float) -> tuple[float, float] | None:
        """The bucket that holds it: its lower and upper bound, infinity above the last one. None with too few values."""
        if self.count < BEYOND / (1 - q):
            return None
        place = next(i for i, count in enumerate(self.counts) if count >= q * self.count)
        return (self.bounds[place - 1] if place else 0.0), self.bounds[place]


def added(parts: Iterable[Histogram]) -> Histogram | None:
    """Of several replicas, bucket by bucket. Raises VllmperfError for other bounds: quantiles could not be told."""
    found: Histogram | None = None
    for part in parts:
        if found is None:
            found = part
            continue
        _check_bounds(found, part)
        total = None if found.total is None or part.total is None else found.total + part.total
        counts = tuple(a + b for a, b in zip(found.counts, part.counts, strict=True))
        found = Histogram(found.bounds, counts, total)
    return found


def of_lines(buckets: dict[float, float], total: float | None, count: float | None) -> Histogram:
    """Of the values behind le, with the last bucket from the count where it was left out."""
    if math.inf not in buckets and count is not None:
        buckets = {**buckets, math.inf: count}
    bounds = tuple(sorted(buckets))
    return Histogram(bounds, tuple(buckets[bound] for bound in bounds), total)


def _check_bounds(a: Histogram, b: Histogram) -> None:
    if a.bounds != b.bounds:
        raise VllmperfError(
            "two histograms of the server have other buckets: they cannot be added or subtracted"
        )
