"""The 95 % intervals of a run: of each metric, of throughput and of goodput. `intervals` has the statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vllmperf.metrics import intervals
from vllmperf.metrics.definitions import METRICS
from vllmperf.metrics.entry import Metric
from vllmperf.metrics.gap_values import GapValues
from vllmperf.metrics.goodput import is_good, used
from vllmperf.metrics.intervals import ByRequest, Held, Interval
from vllmperf.metrics.statistics import NS_PER_MS, Row, percentile_key, quantiles
from vllmperf.metrics.upper_bound import upper_bounds
from vllmperf.metrics.view import Completed, Floats

Bounds = list[float] | None
"""[low, high]; None where the run cannot carry an interval."""

NEARLY_SORTED = 100
"""Requests are stored in order of their numbers; threads send them in nearly the same order. What is no more than so many places
off stays there."""


class Ordered(NamedTuple):
    """Values (ns) in order of send. in_flight: when each request that has some was sent."""

    values: ByRequest
    in_flight: NDArray[Any]


def ordered(metric: Metric, done: Completed) -> Ordered:
    order, level = done.in_order_of_send, done.in_flight_by_send
    if metric.of_request is not None:
        by_request = metric.of_request(done)[order]
        known = by_request == by_request  # without NaN
        return Ordered(Held(_only(by_request, known)), _only(level, known))
    is_sorted = len(order) == 0 or np.abs(order - np.arange(len(order))).max() <= NEARLY_SORTED
    values = metric.values(done)
    if isinstance(values, GapValues):
        lengths = values.lengths if is_sorted else values.lengths[order]
        return Ordered(Streamed(values, None if is_sorted else order), _only(level, lengths > 0))
    lengths = _lengths(metric, done)
    if not is_sorted:
        starts = np.cumsum(lengths) - lengths
        places = np.repeat(starts[order], lengths[order]) + _counting(lengths[order])
        values, lengths = values[places], lengths[order]
    return Ordered(Held(values, lengths), _only(level, lengths > 0))


def _only(values: NDArray[Any], chosen: NDArray[np.bool_]) -> NDArray[Any]:
    """Without a copy where it is all of them."""
    return values if chosen.all() else values[chosen]


@dataclass(frozen=True)
class Streamed:
    """GapValues by request, in order of send. order: None where they are in it already."""

    values: GapValues
    order: NDArray[np.int32] | None

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        return float(self.values.sums.sum() / max(len(self), 1))

    def sums(self) -> Floats:
        return self._ordered(self.values.sums)

    def counts(self) -> NDArray[Any]:
        return self._ordered(self.values.lengths)

    def at_most(self, limits: Sequence[float]) -> Iterator[NDArray[Any]]:
        for counts in self.values.at_most(limits):
            yield self._ordered(counts)

    def quantiles(self, levels: Sequence[float]) -> list[float]:
        return quantiles(self.values, levels)

    def _ordered(self, of_requests: NDArray[Any]) -> NDArray[Any]:
        return of_requests if self.order is None else of_requests[self.order]


def _lengths(metric: Metric, done: Completed) -> NDArray[np.int64]:
    lengths = done.gap_lengths if metric.name == "itl" else done.gap_facts.tokens
    return lengths.astype(np.int64)


def _counting(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, … within each of pieces of these lengths."""
    starts = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) - np.repeat(starts, lengths)


def interval(metric: Metric, done: Completed, percentile: float | None = None) -> Interval:
    """Of a metric's mean, or of a percentile (0 to 100), in ms."""
    values, level = ordered(metric, done)
    if percentile is None:
        return in_ms(intervals.mean_interval(values, in_flight=level))
    return in_ms(intervals.percentile_intervals(values, [percentile], in_flight=level)[0])


def in_ms(found: Interval) -> Interval:
    if found.low is None or found.high is None:
        return found
    return Interval(
        found.low / NS_PER_MS, found.high / NS_PER_MS, found.effective, found.needed, found.degrees
    )


def add(row: Row | None, metric: Metric, done: Completed, percentiles: Sequence[float]) -> Row | None:
    """The row with "ci95" (bounds by statistic) and "ci95_needs" (about how many requests would do, where there are none)."""
    if row is None:
        return None
    values, level = ordered(metric, done)
    mean = intervals.mean_interval(values, in_flight=level)
    others = intervals.percentile_intervals(values, percentiles, in_flight=level)
    keys = ["mean", *map(percentile_key, percentiles)]
    found = {key: in_ms(one) for key, one in zip(keys, [mean, *others], strict=True)}
    return row | {
        "ci95": {key: bounds(one) for key, one in found.items()},
        "ci95_needs": {key: one.needed for key, one in found.items() if one.low is None and one.needed},
    }


def bounds(found: Interval) -> Bounds:
    return None if found.low is None or found.high is None else [found.low, found.high]


def with_upper_bounds(summary: Mapping[str, Any], done: Completed) -> dict[str, Any]:
    """The summary with MLCommons' upper bound of each percentile beside ours: "mlcommons" in each metric's row."""
    rows = {
        metric.key: _with_upper_bound(summary["metrics"].get(metric.key), metric, done) for metric in METRICS
    }
    return {**summary, "metrics": rows}


def _with_upper_bound(row: Row | None, metric: Metric, done: Completed) -> Row | None:
    if row is None:
        return None
    keys = [key for key in row if key.startswith("p")]
    found = upper_bounds(metric.values(done), [float(key[1:]) for key in keys])
    in_ms = [None if value is None else value / NS_PER_MS for value in found]
    return row | {"mlcommons": dict(zip(keys, in_ms, strict=True))}


# ---- throughput ----


def _tokens(whole: Completed, name: str) -> Floats:
    return np.nan_to_num(whole.field(name), copy=False)


AMOUNTS: dict[str, Callable[[Completed], Floats]] = {
    "requests_per_s": lambda whole: np.ones(len(whole.requests)),
    "output_tokens_per_s": lambda whole: _tokens(whole, "output_tokens"),
    "total_tokens_per_s": lambda whole: _tokens(whole, "prompt_tokens") + _tokens(whole, "output_tokens"),
}
"""What each completed request counts for; computed one after the other, as each is an array of all requests."""


def of_throughput(done: Completed, rates: Mapping[str, float | None]) -> dict[str, Bounds]:
    """Bounds of requests and tokens a second."""
    return {name: _rate(done, amounts(done.whole), rates.get(name)) for name, amounts in AMOUNTS.items()}


def of_goodput(done: Completed, limits_ms: Mapping[str, float], per_s: float | None) -> dict[str, Bounds]:
    order = done.in_order_of_send
    good, use = is_good(done, limits_ms)[order], used(done, limits_ms)[order]
    share = intervals.share_interval(good, use, in_flight=done.in_flight_by_send)
    of_whole = is_good(done.whole, limits_ms).astype(np.float64)
    is_share_of_sent = len(done.requests) == done.sent  # what failed is no sample of a latency
    return {
        "requests_per_s": _rate(done, of_whole, per_s),
        "share": bounds(share) if is_share_of_sent else None,
    }


def _rate(done: Completed, amounts: Floats, per_s: float | None) -> Bounds:
    found = rate(done, amounts, per_s)
    return None if found is None else bounds(found)


def rate(done: Completed, amounts: Floats, per_s: float | None) -> Interval | None:
    """Of what was done in a second; amounts: of each completed request of the whole run. A request's work is taken to be done in
    the middle of its tokens; the bounds are those of that rate, moved to the one that is reported."""
    if per_s is None or done.window_ns is None:
        return None
    middle = _middles_ns(done.whole)
    start, end = done.window_ns
    within = (middle >= start) & (middle <= end) & (amounts > 0)
    middle, amounts = _only(middle, within), _only(amounts, within)
    by_middle = float(amounts.sum()) / (end - start) * 1e9
    found = intervals.rate_interval(middle, start, end, amounts, in_flight=done.in_flight_by_send)
    if found.low is None or found.high is None or not by_middle:
        return None
    low, high = max(per_s + found.low - by_middle, 0.0), per_s + found.high - by_middle
    return Interval(low, high, found.effective, None, found.degrees)


def _middles_ns(whole: Completed) -> NDArray[np.int64]:
    """Between the first and the last token of each request, rounded down."""
    first, last = whole.requests["first_token_ns"], whole.requests["last_token_ns"]
    middles = np.where(first < 0, last, first)
    first = last - middles
    first //= 2
    middles += first
    return middles
