"""Numbers of a run with their intervals, by name: what a comparison of two runs, or a rule of stopping, starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import vllmperf._engine as _engine
from vllmperf.metrics.ci95 import Ordered, in_ms, ordered, rate
from vllmperf.metrics.difference import Estimate
from vllmperf.metrics.entry import Figure
from vllmperf.metrics.goodput import is_good, objectives, used
from vllmperf.metrics.intervals import (
    Interval,
    mean_interval,
    percentile_intervals,
    share_interval,
)
from vllmperf.metrics.quantity import Quantity
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import Completed, Flags, Floats

REQUESTS, OUTPUT, TOTAL = (
    f"throughput.{name}_per_s" for name in ("requests", "output_tokens", "total_tokens")
)
GOOD, GOOD_SHARE = "goodput.requests_per_s", "goodput.share"
WITH_INTERVAL = (REQUESTS, OUTPUT, TOTAL, GOOD, GOOD_SHARE)


def estimates(done: Completed, wanted: Sequence[Quantity]) -> dict[str, Estimate]:
    """By the name of the quantity: its value (ms for times) and interval, of those that have one."""
    found: dict[str, Estimate] = {}
    for metric in dict.fromkeys(one.metric for one in wanted if one.metric is not None):
        series = ordered(metric, done)
        if len(series.values):
            found |= _of_metric(series, [one for one in wanted if one.metric is metric])
    for one in wanted:
        if one.figure is not None and (estimate := _of_figure(done, one.figure)) is not None:
            found[one.name] = estimate
    return found


def _of_metric(series: Ordered, wanted: Sequence[Quantity]) -> dict[str, Estimate]:
    found: dict[str, Estimate] = {}
    for one in wanted:
        if one.statistic == "mean":
            interval = mean_interval(series.values, in_flight=series.in_flight)
            found[one.name] = _in_ms(series.values.mean, interval)
    levels = {one.name: p for one in wanted if (p := one.percentile) is not None}
    values = series.values.quantiles([p / 100 for p in levels.values()])
    bounds = percentile_intervals(series.values, list(levels.values()), in_flight=series.in_flight)
    return found | {
        name: _in_ms(value, bound) for name, value, bound in zip(levels, values, bounds, strict=True)
    }


def _in_ms(value: float, interval: Interval) -> Estimate:
    return Estimate(value / NS_PER_MS, in_ms(interval))


# ---- figures ----


def _of_figure(done: Completed, figure: Figure) -> Estimate | None:
    limits_ms = objectives(done.recording.plan)
    if figure.name not in WITH_INTERVAL or (figure.name in (GOOD, GOOD_SHARE) and not limits_ms):
        return None
    if figure.name == GOOD_SHARE:
        return _good_share(done, is_good(done, limits_ms), used(done, limits_ms))
    amounts = _amounts(done.whole, figure.name, limits_ms)
    return None if amounts is None else _rate(done, amounts)


def _good_share(done: Completed, good: Flags, use: Floats) -> Estimate | None:
    """Of the requests that were sent, whatever became of them. use: what completed requests used of their limits."""
    sent_ns = done.recording.requests["sent_ns"]
    flags, of_limits = np.zeros(len(sent_ns), dtype=np.bool_), np.full(len(sent_ns), np.nan)
    flags[done.mask], of_limits[done.mask] = good, use
    rows = np.flatnonzero((sent_ns != _engine.NONE) & (sent_ns >= done.start_ns))
    rows = rows[np.argsort(sent_ns[rows], kind="stable")]
    if not len(rows):
        return None
    return Estimate(float(flags[rows].mean()), share_interval(flags[rows], of_limits[rows]))


def _amounts(whole: Completed, name: str, limits_ms: Mapping[str, float]) -> Floats | None:
    """What each request counts for; None where it is not known."""
    if name == REQUESTS:
        return np.ones(len(whole.requests))
    if name == GOOD:
        return is_good(whole, limits_ms).astype(np.float64)
    output = whole.field("output_tokens")
    amounts = output if name == OUTPUT else output + whole.field("prompt_tokens")
    return None if np.isnan(amounts).any() or not amounts.any() else amounts


def _rate(done: Completed, amounts: Floats) -> Estimate | None:
    value = done.work_per_s(amounts)
    return None if value is None else Estimate(value, rate(done, amounts, value) or Interval(None, None, 0.0))
