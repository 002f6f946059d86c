"""Sums of `vllmperf check` over the statistics of one metric: whether any set of values has them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from vllmperf.metrics.figure_spans import EXACT, TIMES, Figures, Found, Span
from vllmperf.numbers import brief

FEWEST_FOR_BOUNDS = 20
"""Of fewer values percentiles are drawn between two that lie far apart."""
BOUNDS_TOLERANCE = 0.05
EQUAL = 1e-6


@dataclass(frozen=True, slots=True)
class _Shape:
    """Statistics of one metric. quantiles: ascending, as (share below, span). most: no value is larger, if that is known."""

    name: str
    mean: Span
    std: Span | None
    quantiles: list[tuple[float, Span]]
    least: float
    most: float | None
    n: float


def _shapes(figures: Figures) -> Iterator[_Shape]:
    done = figures.value("requests.completed") or 0
    for key, row in figures.summary["metrics"].items():
        mean = figures(f"metrics.{key}.mean") if row else None
        if mean is None or done < FEWEST_FOR_BOUNDS or mean.high <= 0:
            continue
        spans = {name: span for name in row if (span := figures(f"metrics.{key}.{name}")) is not None}
        quantiles = [(float(name[1:]) / 100, span) for name, span in spans.items() if name[0] == "p"]
        quantiles += [(1.0, spans["max"])] if "max" in spans else []
        most, duration = spans.get("max"), figures("duration_s")
        if most is None and duration is not None and key in TIMES:
            most = duration * Span(1e3, 1e3)  # no request lasts longer than the run
        least = spans["min"].low if "min" in spans else 0.0
        count = figures.value("tokens.output") if key == "itl_ms" else done
        name, n = key.removesuffix("_ms").upper(), float(row.get("n") or count or float("inf"))
        ascending = sorted(quantiles, key=lambda one: one[0])
        yield _Shape(name, mean, spans.get("std"), ascending, least, most.high if most else None, n)


def ordered(figures: Figures) -> Found | None:
    """Statistics of one metric: quantiles ascend, the mean is between the extremes and not below half the median."""
    seen = False
    for key, row in figures.summary["metrics"].items():
        spans = {name: span for name in row or () if (span := figures(f"metrics.{key}.{name}")) is not None}
        quantiles = sorted((name for name in spans if name[:1] == "p"), key=lambda name: float(name[1:]))
        order = [name for name in ("min", *quantiles, "max") if name in spans]
        pairs = [(a, b, 1.0) for a, b in pairwise(order)]
        if "mean" in spans:
            pairs += [("mean", "max", 1.0)] * ("max" in spans) + [("min", "mean", 1.0)] * ("min" in spans)
            pairs += [("p50", "mean", 0.5)] * ("p50" in spans)
        seen = seen or bool(pairs)
        for low, high, factor in pairs:
            if spans[low].low * factor > spans[high].high * (1 + EXACT):
                name, half = key.removesuffix("_ms").upper(), "" if factor == 1 else "half of "
                left = f"{name} {half}{low} {brief(spans[low].middle * factor, 4)} ms"
                return False, left, f"{high} {brief(spans[high].middle, 4)} ms", "no set of values has both"
    return (True, "", "", "") if seen else None


def mean_below_highest(figures: Figures) -> Found | None:
    """A mean above p99 is made by less than a hundredth of the values."""
    seen = False
    for key, row in figures.summary["metrics"].items():
        found = figures.all(f"metrics.{key}.mean", f"metrics.{key}.p99") if row else None
        if found is None:
            continue
        seen = True
        mean, p99 = found
        if mean.low > p99.high:
            name = key.removesuffix("_ms").upper()
            why = "a few values of another kind make the mean, or the percentiles are rounded more coarsely than it"
            return False, f"{name} mean {brief(mean.middle, 4)} ms", f"p99 {brief(p99.middle, 4)} ms", why
    return (True, "", "", "") if seen else None


def mean_among(figures: Figures) -> Found | None:
    """The mean is at least what the quantiles need, each for the values above it, and at most what they allow."""
    seen = False
    for one in filter(lambda shape: shape.quantiles, _shapes(figures)):
        seen = True
        shares = [0.0, *(share for share, _ in one.quantiles), 1.0]
        weights = [b - a for a, b in pairwise(shares)]
        lows = [one.least, *(span.low for _, span in one.quantiles)]
        least = sum(weight * low for weight, low in zip(weights, lows, strict=True))
        said = f"mean {brief(one.mean.middle, 4)} ms"
        if least * (1 - BOUNDS_TOLERANCE) > one.mean.high:
            why = "the values above each quantile alone would make the mean larger: a quantile or the mean is wrong"
            return False, f"{one.name} {said}", f"at least {brief(least, 4)} ms by its quantiles", why
        if one.most is None:
            continue
        highs = [*(span.high for _, span in one.quantiles), one.most]
        most = sum(weight * high for weight, high in zip(weights, highs, strict=True))
        if one.mean.low > most * (1 + BOUNDS_TOLERANCE):
            why = "the values below each quantile and below the largest cannot make it as large: one of these is wrong"
            return False, f"{one.name} {said}", f"at most {brief(most, 4)} ms by its quantiles", why
    return (True, "", "", "") if seen else None


def std_fits(figures: Figures) -> Found | None:
    """A quantile q lies within std × √(q / (1 − q)) of the mean (Cantelli), and no set of values between two bounds spreads more
    than one that has only the bounds (Bhatia and Davis 2000). Without a bound above, one value may hold the whole sum."""
    if (zero := _zero_std(figures)) is not None:
        return zero
    seen = False
    for one in _shapes(figures):
        if one.std is None:
            continue
        seen, mean, half = True, one.mean, BOUNDS_TOLERANCE
        said = f"{one.name} std {brief(one.std.middle, 4)} ms"
        for q, span in one.quantiles:
            above = (q / (1 - q)) ** 0.5 if q < 1 else one.n**0.5
            needed = max((span.low - mean.high) / above, (mean.low - span.high) * above if 0 < q < 1 else 0.0)
            if needed * (1 - half) > one.std.high:
                right = f"at least {brief(needed, 4)} ms, for p{q * 100:g} {brief(span.middle, 4)} ms and its mean"
                return False, said, right, "the mean, the quantile or the standard deviation is wrong"
        widest = min(mean.high * one.n, one.most if one.most is not None else float("inf"))
        most = (max(widest - mean.low, 0.0) * max(mean.high - one.least, 0.0)) ** 0.5
        if one.std.low > most * (1 + half):
            right = f"at most {brief(most, 4)} ms, for its mean and its largest value"
            return False, said, right, "the standard deviation, or the mean, is wrong; std in another unit?"
    return (True, "", "", "") if seen else None


def _zero_std(figures: Figures) -> Found | None:
    """Of two statistics of one metric that differ, where values that have no spread are all the same."""
    for key, row in figures.summary["metrics"].items():
        spans = {name: span for name in row or () if (span := figures(f"metrics.{key}.{name}")) is not None}
        std = spans.pop("std", None)
        values = [span for name, span in spans.items() if name in ("mean", "min", "max") or name[0] == "p"]
        if std is None or std.high > 0 or not values:
            continue
        low, high = min(span.high for span in values), max(span.low for span in values)
        if high > low * (1 + EQUAL):
            right = f"statistics from {brief(low, 4)} to {brief(high, 4)} ms"
            name = key.removesuffix("_ms").upper()
            return False, f"{name} std 0 ms", right, "values that do not spread are all the same"
    return None
