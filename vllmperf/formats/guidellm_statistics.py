"""How guidellm 0.3 sums a benchmark up: weighted distributions of values, rates and concurrency over time.

Times are Unix seconds as the report's rows have them, so that its aggregates follow from its rows to the digit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

PERCENTILES = {
    "p001": 0.001,
    "p01": 0.01,
    "p05": 0.05,
    "p10": 0.1,
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p999": 0.999,
}
MERGED_S = 1e-6
"""Events that follow the first of a group within this time count as one."""
MOST_EVENTS = 20_000_000
"""More tokens than these are not told apart in a distribution over time."""


def distribution(values: ArrayLike, weights: ArrayLike | None = None) -> dict[str, Any]:
    """The summary of weighted values; zeros when there are none.

    A percentile is the smallest value up to which the share of the weight reaches q, without interpolation.
    count and total_sum know nothing of the weights. The variance is that of a population.
    """
    found = np.asarray(values, dtype=np.float64)
    if not len(found):
        return _nothing()
    heavy = np.ones(len(found)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(found, kind="stable")
    found, shares = found[order], heavy[order] / heavy.sum()
    cumulated = np.cumsum(shares)
    mean = float(np.sum(found * shares))
    variance = float(np.sum((found - mean) ** 2 * shares))

    def quantile(q: float) -> float:
        return float(found[np.argmax(cumulated >= q)])

    return {
        "mean": mean,
        "median": quantile(0.5),
        "mode": float(found[np.argmax(shares)]),
        "variance": variance,
        "std_dev": math.sqrt(variance),
        "min": float(found[0]),
        "max": float(found[-1]),
        "count": len(found),
        "total_sum": float(np.sum(found)),
        "percentiles": {name: quantile(q) for name, q in PERCENTILES.items()},
        "cumulative_distribution_function": None,
    }


def _nothing(value: float | None = 0.0) -> dict[str, Any]:
    names = ("mean", "median", "mode", "variance", "std_dev", "min", "max")
    return {
        **dict.fromkeys(names, value),
        "count": 0,
        "total_sum": 0.0,
        "percentiles": dict.fromkeys(PERCENTILES, value),
        "cumulative_distribution_function": None,
    }


def unmeasured() -> dict[str, Any]:
    """The summary of what nobody measured: null where guidellm writes 0."""
    return _nothing(None)


def concurrency(starts: ArrayLike, ends: ArrayLike) -> dict[str, Any]:
    """How many requests were open, weighted by how long."""
    opened = np.asarray(starts, dtype=np.float64)
    times = np.concatenate([opened, np.asarray(ends, dtype=np.float64)])
    steps = np.concatenate([np.ones(len(opened)), -np.ones(len(opened))])
    at, changes = _merged(times, steps)
    return _over_time(np.cumsum(changes), at)


def request_rate(starts: ArrayLike, ends: ArrayLike) -> dict[str, Any]:
    """Ends of requests per second, each pause between two of them weighted by its length."""
    opened, closed = np.asarray(starts, dtype=np.float64), np.asarray(ends, dtype=np.float64)
    if not len(opened):
        return _nothing()
    at, counts = _merged(np.concatenate([[opened.min()], closed]), np.ones(len(closed) + 1))
    return _rates(counts, at)


def token_rate(
    starts: ArrayLike,
    ends: ArrayLike,
    firsts: ArrayLike,
    tokens: ArrayLike,
    at_first: ArrayLike,
    most: int = MOST_EVENTS,
) -> dict[str, Any]:
    """Tokens per second: `at_first` of them at the first token, the rest spread evenly until the end.

    tokens: output tokens of each request. at_first: 1, or prompt tokens + 1 where the prompt counts too. Of more
    than `most` tokens several of a request count at the last one's time: the mean stays, the memory too.
    """
    first, end = np.asarray(firsts, dtype=np.float64), np.asarray(ends, dtype=np.float64)
    if not len(first):
        return _nothing()
    later = np.maximum(np.asarray(tokens, dtype=np.int64) - 1, 0)
    spread, counts = _spread(first, end, later, max(1, math.ceil(int(later.sum()) / most)))
    edges = [float(np.min(np.asarray(starts, dtype=np.float64))), float(end.max())]
    times = np.concatenate([edges, first, spread])
    counts = np.concatenate([[0.0, 0.0], np.asarray(at_first, dtype=np.float64), counts])
    at, merged = _merged(times, counts)
    return _rates(merged, at)


def _spread(first: Floats, end: Floats, later: NDArray[np.int64], bundle: int) -> tuple[Floats, Floats]:
    """Times of the tokens after the first and how many come at each, all requests after one another."""
    gap = (end - first) / np.maximum(later, 1)
    bundles = -(-later // bundle)
    before = np.cumsum(bundles) - bundles
    number = (np.arange(int(bundles.sum())) - np.repeat(before, bundles) + 1) * bundle
    last = np.minimum(number, np.repeat(later, bundles))
    times: Floats = np.repeat(first, bundles) + last * np.repeat(gap, bundles)
    return times, (last - (number - bundle)).astype(np.float64)


def _rates(counts: Floats, at: Floats) -> dict[str, Any]:
    lengths = np.diff(at)
    return _weighted(counts[:-1] / lengths, lengths)


def _over_time(values: Floats, at: Floats) -> dict[str, Any]:
    return _weighted(values[:-1], np.diff(at))


def _weighted(values: Floats, lengths: Floats) -> dict[str, Any]:
    """Each different value once, with the time that it lasted in all."""
    if not len(values):
        return _nothing()
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    firsts = np.flatnonzero(np.diff(ordered, prepend=-math.inf))
    return distribution(ordered[firsts], np.add.reduceat(lengths[order], firsts))


def _merged(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Events in order, those within MERGED_S of the first of a group as one at its time."""
    if not len(times):
        return times, values
    order = np.argsort(times, kind="stable")
    sorted_times = times[order]
    firsts = _group_starts(sorted_times)
    return sorted_times[firsts], np.add.reduceat(values[order], firsts)


def _group_starts(times: Floats) -> NDArray[np.int64]:
    """Where the groups begin, for times in order."""
    runs = np.flatnonzero(np.diff(times, prepend=-math.inf) > MERGED_S)  # within a run all steps are small
    ends = np.append(runs[1:], len(times))
    long = times[ends - 1] - times[runs] > MERGED_S
    more = [
        start
        for first, last in zip(runs[long].tolist(), ends[long].tolist(), strict=True)
        for start in _more_starts(times, first, last)
    ]
    return np.sort(np.concatenate([runs, np.asarray(more, dtype=np.int64)]))


def _more_starts(times: Floats, first: int, last: int) -> list[int]:
    """Further groups of a run that is longer than one."""
    found = []
    while (
        first := first + int(np.searchsorted(times[first:last] - times[first], MERGED_S, side="right"))
    ) < last:
        found.append(first)
    return found
