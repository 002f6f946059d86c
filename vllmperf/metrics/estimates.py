"""Numbers of a run with their intervals, by name: what a comparison of two runs, or a rule of stopping, starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.difference import Estimate
from vllmperf.metrics.entry import Figure, Metric
from vllmperf.metrics.goodput import is_good, objectives
from vllmperf.metrics.intervals import (
    Interval,
    mean_interval,
    percentile_intervals,
    rate_interval,
    share_interval,
)
from vllmperf.metrics.quantity import Quantity
from vllmperf.metrics.statistics import NS_PER_MS, Samples, quantiles
from vllmperf.metrics.view import Completed, Flags, Floats, happened

NS = 1e9
REQUESTS, OUTPUT, TOTAL = (
    f"throughput.{name}_per_s" for name in ("requests", "output_tokens", "total_tokens")
)
GOOD, GOOD_SHARE = "goodput.requests_per_s", "goodput.share"
WITH_INTERVAL = (REQUESTS, OUTPUT, TOTAL, GOOD, GOOD_SHARE)


@dataclass(frozen=True, slots=True)
class Series:
    """A metric's values in ns in order of send; lengths: how many each request has, None for one each."""

    values: Samples
    lengths: NDArray[np.int64] | None
    in_flight: Floats


class Sent:
    """The completed requests of a run in the order in which they were sent."""

    def __init__(self, done: Completed) -> None:
        self.done = done

    @cached_property
    def order(self) -> NDArray[np.intp]:
        return np.argsort(self.done.requests["sent_ns"], kind="stable")

    @cached_property
    def in_flight(self) -> Floats:
        """How many requests were in flight when each was sent."""
        recording, sent = self.done.recording, self.done.requests["sent_ns"][self.order]
        begun, ended = (np.sort(happened(recording, name)) for name in ("sent_ns", "end_ns"))
        level = np.searchsorted(begun, sent, "right") - np.searchsorted(ended, sent, "right")
        return level.astype(np.float64)

    def series(self, metric: Metric) -> Series | None:
        """None for a metric whose values cannot be told by request."""
        if metric.of_request is not None:
            each = metric.of_request(self.done)[self.order]
            is_known = ~np.isnan(each)
            return Series(each[is_known], None, self.in_flight[is_known])
        values, lengths = metric.all_samples(self.done), self.done.requests["n_gaps"].astype(np.int64)
        if len(values) != int(lengths.sum()):
            return None
        return Series(self._sorted(values, lengths), lengths[self.order], self.in_flight)

    def _sorted(self, values: Samples, lengths: NDArray[np.int64]) -> Samples:
        """Values that are stored one request after another, in order of send."""
        if (np.diff(self.order) > 0).all():
            return values
        starts, ordered = (np.cumsum(lengths) - lengths)[self.order], lengths[self.order]
        places = np.arange(len(values)) + np.repeat(starts - (np.cumsum(ordered) - ordered), ordered)
        found: Samples = values[places]
        return found


def estimates(done: Completed, wanted: Sequence[Quantity]) -> dict[str, Estimate]:
    """By the name of the quantity: its value (ms for times) and interval, of those that have one."""
    sent = Sent(done)
    found: dict[str, Estimate] = {}
    for metric in dict.fromkeys(one.metric for one in wanted if one.metric is not None):
        series = sent.series(metric)
        if series is not None and len(series.values):
            found |= _of_metric(series, [one for one in wanted if one.metric is metric])
    for one in wanted:
        if one.figure is not None and (estimate := _of_figure(done, one.figure)) is not None:
            found[one.name] = estimate
    return found


def _of_metric(series: Series, wanted: Sequence[Quantity]) -> dict[str, Estimate]:
    found: dict[str, Estimate] = {}
    for one in wanted:
        if one.statistic == "mean":
            mean = float(np.mean(series.values, dtype=np.float64))
            found[one.name] = _in_ms(
                mean, mean_interval(series.values, series.lengths, in_flight=series.in_flight)
            )
    levels = {one.name: p for one in wanted if (p := one.percentile) is not None}
    values = quantiles(series.values, [p / 100 for p in levels.values()])
    bounds = percentile_intervals(
        series.values, list(levels.values()), series.lengths, in_flight=series.in_flight
    )
    return found | {
        name: _in_ms(value, bound) for name, value, bound in zip(levels, values, bounds, strict=True)
    }


def _in_ms(value: float, interval: Interval) -> Estimate:
    return Estimate(value / NS_PER_MS, _scaled(interval, 1 / NS_PER_MS))


def _scaled(interval: Interval, scale: float, shift: float = 0.0) -> Interval:
    if interval.low is None or interval.high is None:
        return interval
    return replace(interval, low=interval.low * scale + shift, high=interval.high * scale + shift)


# ---- figures ----


def _of_figure(done: Completed, figure: Figure) -> Estimate | None:
    limits_ms = objectives(done.recording.plan)
    if figure.name not in WITH_INTERVAL or (figure.name in (GOOD, GOOD_SHARE) and not limits_ms):
        return None
    if figure.name == GOOD_SHARE:
        return _good_share(done, is_good(done, limits_ms))
    amounts = _amounts(done.whole, figure.name, limits_ms)
    return None if amounts is None else _rate(done, amounts)


def _good_share(done: Completed, good: Flags) -> Estimate | None:
    """Of the requests that were sent, whatever became of them."""
    sent_ns = done.recording.requests["sent_ns"]
    flags = np.zeros(len(sent_ns), dtype=np.bool_)
    flags[done.mask] = good
    rows = np.flatnonzero((sent_ns != _engine.NONE) & (sent_ns >= done.start_ns))
    flags = flags[rows[np.argsort(sent_ns[rows], kind="stable")]]
    return Estimate(float(flags.mean()), share_interval(flags)) if len(flags) else None


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
    """In a second of the time that counts. The scatter is that of what ended in it, the value counts what was done in it."""
    window, value = done.window_ns, done.work_per_s(amounts)
    if window is None or value is None:
        return None
    end = done.whole.requests["end_ns"]
    within = (end >= window[0]) & (end <= window[1])
    ended = float(amounts[within].sum()) * NS / (window[1] - window[0])
    return Estimate(value, _scaled(rate_interval(end, *window, amounts), 1.0, value - ended))
