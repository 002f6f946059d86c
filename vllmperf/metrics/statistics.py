"""From samples to a row of a summary: n, mean, std, min, percentiles, max. Empty is None, never 0."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.record.gaps import HELD_UP_TO

DEFAULT_PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)

Samples = NDArray[np.floating[Any]]
"""float32 or float64, ns."""


class Streamed(Protocol):
    """Samples that are too many to be held."""

    def __len__(self) -> int: ...
    @property
    def histogram(self) -> _engine.Histogram: ...


EXACT_UP_TO = HELD_UP_TO
"""Percentiles are exact up to this many samples, beyond it read from a histogram (at most 0.049 % off)."""

FROM_HISTOGRAM = "histogram, ±0.049 %"
"""What the summary says of such percentiles."""

OF_THE_WHOLE_RUN = f"{FROM_HISTOGRAM}, of the whole run"
"""The same where the run file keeps the histogram alone, which has the warm-up in it."""

NS_PER_MS = 1e6

Row = dict[str, Any]
"""n, mean, std, min, p50, …, max of one metric; n is a whole number, the others are in ms. Of a run's metrics also ci95: [low,
high] by statistic, None where the run cannot carry it, and ci95_needs: how many requests would do, about."""


def percentile_list(*more: Iterable[float] | None) -> list[float]:
    """The default percentiles and those asked for, ascending, each once."""
    asked = {float(p) for some in more if some for p in some}
    return sorted(asked.union(DEFAULT_PERCENTILES))


def percentile_key(percentile: float) -> str:
    """50 → p50, 99.9 → p99.9"""
    return f"p{percentile:g}"


def describe(samples: Samples | Streamed, percentiles: Sequence[float]) -> Row | None:
    """The row of an array of ns, in ms; std is the population's. None when there are no samples."""
    if len(samples) == 0:
        return None
    if not isinstance(samples, np.ndarray):
        return describe_histogram(samples.histogram, percentiles)
    if len(samples) > EXACT_UP_TO:
        histogram = _engine.Histogram()
        histogram.add(np.ascontiguousarray(samples))
        return describe_histogram(histogram, percentiles)
    mean, variance = _engine.moments(np.ascontiguousarray(samples))
    values = quantiles(samples, [p / 100 for p in percentiles])
    low, high = float(samples.min()), float(samples.max())
    return _row(len(samples), mean, math.sqrt(variance), low, percentiles, values, high)


def quantiles(samples: Samples | Streamed, levels: Sequence[float]) -> list[float]:
    """Quantiles (levels 0 to 1) by NumPy's default rule; exact of samples that are held."""
    if not isinstance(samples, np.ndarray):
        return [samples.histogram.quantile(level) for level in levels]
    return _engine.quantile(np.ascontiguousarray(samples), levels)


def median(values: NDArray[Any]) -> float:
    """The middle value, NaN for none. (NumPy's own median imports its masked arrays, a tenth of a short run's CPU.)"""
    return quantiles(np.asarray(values, dtype=np.float64), [0.5])[0]


def describe_histogram(histogram: _engine.Histogram | None, percentiles: Sequence[float]) -> Row | None:
    """The same from a histogram of ns."""
    if histogram is None or histogram.count == 0:
        return None
    values = [histogram.quantile(p / 100) for p in percentiles]
    return _row(
        histogram.count, histogram.mean, histogram.std, histogram.min, percentiles, values, histogram.max
    )


def _row(
    n: int,
    mean: float,
    std: float,
    low: float,
    percentiles: Sequence[float],
    values: Sequence[float],
    high: float,
) -> Row:
    row: Row = {"n": n, "mean": mean / NS_PER_MS, "std": std / NS_PER_MS, "min": low / NS_PER_MS}
    row |= {percentile_key(p): value / NS_PER_MS for p, value in zip(percentiles, values, strict=True)}
    return row | {"max": high / NS_PER_MS}
