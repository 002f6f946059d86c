"""The upper bound of a percentile that MLCommons `endpoints` reports ("early stopping estimate"), to put beside our intervals.

The rule is LoadGen's (`results.cc`, single stream; mlcommons/endpoints, docs/early_stopping.md, 0.5): confidence 0.99,
tolerance 0, percentiles from the median up. The bound is the t-th largest of n values, t the largest number for which at most
t of n values lie beyond the percentile with a probability of at most 1 % when values are independent. Latencies of a
server are not: docs/intervals.md says how often the bound fails.
"""

from __future__ import annotations

from collections.abc import Sequence

from vllmperf.metrics.distributions import binomial_at_most
from vllmperf.metrics.statistics import Samples, Streamed, quantiles

CONFIDENCE = 0.99
LOWEST_PERCENTILE = 50.0


def upper_bounds(values: Samples | Streamed, percentiles: Sequence[float]) -> list[float | None]:
    """Of percentiles (0 to 100) in the unit of the values; None below the median and where there are too few values."""
    n = len(values)
    places = [n - discarded(n, percentile) for percentile in percentiles]
    known = [place for place in places if place < n]
    found = iter(quantiles(values, [place / (n - 1) for place in known])) if known else iter(())
    return [next(found) if place < n else None for place in places]


def discarded(n: int, percentile: float) -> int:
    """Which of the largest values is the bound (1 is the largest), 0 for none."""
    beyond = 1 - percentile / 100
    if percentile < LOWEST_PERCENTILE or beyond <= 0:
        return 0
    low, high = 0, int(n * beyond) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_at_most(middle, n, beyond) <= 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return low
