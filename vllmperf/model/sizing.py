"""The largest rate that one replica carries within its SLOs, and how many replicas a load needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vllmperf.errors import SettingError, UsageError
from vllmperf.model.queue import TPS_MARGIN
from vllmperf.model.simulate import Load, Outcome, Replica, saturated_per_s, scaled, simulate
from vllmperf.shown import Shown, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA = 1
PERCENTILES = (50, 90, 99)
CLOSE = 0.002
"""The search ends when the rate is known to this share."""
ROOM = 0.01
STEPS = 40
CURVE = 12
"""Rates of the picture, up to BEYOND times what is carried."""
BEYOND = 1.1
SEEDS = 5
REACH = 5
"""Deviations of the rate from one seed to the next within which long simulations look."""
STUDENT_4 = 2.776
Z95 = 1.96
AT_BEST = 400_000
"""Requests of the simulation at the rate that was found: near saturation the mean TTFT of 40,000 is off by 7 % (one
deviation)."""


@dataclass(frozen=True)
class Goals:
    """Upper limits in ms, None where there is none, for the mean or for a percentile (0 to 100): ttft_percentile and
    itl_percentile, or percentile for both.

    output_tokens_per_s: what the whole service must produce, as the TPS target of a service class in WVA: a replica then
    keeps a tenth of its saturated rate unused, and the replicas must be enough for these tokens.
    """

    ttft_ms: float | None = None
    itl_ms: float | None = None
    percentile: float | None = None
    output_tokens_per_s: float | None = None
    ttft_percentile: float | None = None
    itl_percentile: float | None = None

    def percentile_of(self, metric: str) -> float | None:
        """Of "ttft" or "itl"; None: the mean."""
        own = self.ttft_percentile if metric == "ttft" else self.itl_percentile
        return self.percentile if own is None else own

    @property
    def limits(self) -> list[tuple[str, float]]:
        """(metric, ms) of each latency that has a goal."""
        both = (("ttft", self.ttft_ms), ("itl", self.itl_ms))
        return [(metric, limit) for metric, limit in both if limit is not None]

    def used(self, outcome: Outcome, metric: str, limit: float) -> float:
        """Share of the limit."""
        return outcome.value(metric, self.percentile_of(metric)) / limit


@dataclass(frozen=True, repr=False)
class Sizing(Shown):
    """What one replica carries within goals, in requests/s: max_rate_per_s and its 95 % interval.

    limited_by: "ttft", "itl", "tps" or "capacity" (the goals
    never bind: the replica is saturated first); outcome at that rate; replicas for the
    load that was asked for, with the interval's ends; each_per_s: the rate of one of them."""

    max_rate_per_s: float
    low: float
    high: float
    limited_by: str
    outcome: Outcome
    replicas: int | None
    replicas_low: int | None
    replicas_high: int | None
    each_per_s: float | None = None
    goals: Goals = field(default_factory=Goals)
    load: Load = field(default_factory=lambda: Load(0.0, 0.0))
    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What published.answer() gives, by the name of the model."""
    replica: Replica | None = field(default=None, repr=False)

    def curve(self) -> tuple[Outcome, ...]:
        """The replica at rates from a tenth to a little more than what it carries, simulated now."""
        if self.replica is None:
            return (self.outcome,)
        most = min(BEYOND * self.high, (1 - CLOSE) * saturated_per_s(self.replica, self.load))
        rates = np.linspace(0.1 * self.max_rate_per_s, max(most, self.max_rate_per_s), CURVE)
        return tuple(simulate(self.replica, self.load, float(rate)) for rate in rates)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Latencies against the rate, the goals, and the rate with its interval, on `ax` or on a new figure. Simulates some
        seconds. Needs matplotlib."""
        return views().axes(self, ax)

    def to_dict(self) -> dict[str, Any]:
        """The object that `vllmperf size --json` prints; docs/sizing.md has its schema."""
        goals, load = self.goals, self.load
        return {
            "schema": SCHEMA,
            "max_rate_per_s": {"value": self.max_rate_per_s, "ci95": [self.low, self.high]},
            "limited_by": self.limited_by,
            "slo": {
                "ttft_ms": goals.ttft_ms,
                "ttft_percentile": goals.percentile_of("ttft"),
                "itl_ms": goals.itl_ms,
                "itl_percentile": goals.percentile_of("itl"),
                "output_tokens_per_s": goals.output_tokens_per_s,
            },
            "requests": {
                "input_tokens": load.input_tokens,
                "output_tokens": load.output_tokens,
                "input_spread": load.input_spread,
                "output_spread": load.output_spread,
                "distribution": "seen" if load.seen is not None else load.distribution,
            },
            "at_max_rate": {metric: _values(self.outcome, metric) for metric in ("ttft", "itl")},
            "output_tokens_per_s": self.outcome.output_tokens_per_s,
            "replicas": None
            if self.replicas is None
            else {"value": self.replicas, "ci95": [self.replicas_low, self.replicas_high]},
            "rate_of_each_per_s": self.each_per_s,
            "published_models": {name: dict(one) for name, one in self.published.items()} or None,
        }


def _values(outcome: Outcome, metric: str) -> dict[str, float | None]:
    said = {f"p{percent:g}": outcome.value(metric, percent) for percent in PERCENTILES}
    said = {"mean": outcome.value(metric, None), **said, "mean_half_width": outcome.half_width(metric)}
    return {name: None if math.isnan(value) else value for name, value in said.items()}


def size(
    replica: Replica,
    load: Load,
    goals: Goals,
    deviations: Mapping[str, float] | None = None,
    covariance_alpha_beta: float = 0.0,
    rate_per_s: float | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> Sizing:
    """deviations: standard deviation by name of a Replica's parameter (ms). rate_per_s: the whole load; with a goal of
    tokens/s the larger of the two loads counts.

    Raises UsageError when even a request alone does not meet the goals.
    """
    if not goals.limits and goals.output_tokens_per_s is None:
        raise SettingError("give {ttft}, {itl} or {tps}: without a goal every rate below saturation is right")
    tell("looking for the rate at which the replica is saturated")
    ceiling = _ceiling(replica, load, goals, seed)
    tell(f"looking for the rate within the goals, 1 of {SEEDS}: below {ceiling:.4g}/s")
    first = _largest(replica, load, goals, ceiling, seed)
    found = [first]
    for place in range(1, SEEDS):
        tell(f"looking for the rate within the goals, {place + 1} of {SEEDS}: near {first:.4g}/s")
        found.append(_near(replica, load, goals, first, seed + place))
    scatter = float(np.std(found, ddof=1))
    tell(f"long simulations near {float(np.mean(found)):.4g}/s")
    best, outcome = _refined(replica, load, goals, float(np.mean(found)), scatter, ceiling, seed + SEEDS)
    tell("how the rate follows the parameters")
    half = math.hypot(
        Z95
        * math.sqrt(_variance(replica, load, goals, first, deviations or {}, covariance_alpha_beta, seed)),
        STUDENT_4 * scatter / math.sqrt(SEEDS),
    )
    low, high = max(best - half, 0.0), best + half
    whole = _whole(goals, load, rate_per_s)
    limit = _limit(ceiling, outcome, goals)
    if whole is None:
        return Sizing(best, low, high, limit, outcome, None, None, None, None, goals, load, replica=replica)
    count, fewest, most = (_count(whole, one) for one in (best, high, low))
    return Sizing(
        best, low, high, limit, outcome, count, fewest, most, whole / count, goals, load, replica=replica
    )


def _whole(goals: Goals, load: Load, rate_per_s: float | None) -> float | None:
    """The load of the service: as asked for, or as its tokens need it."""
    tokens = goals.output_tokens_per_s
    asked = [one for one in (rate_per_s, None if tokens is None else tokens / load.output_tokens) if one]
    return max(asked, default=None)


def _count(rate_per_s: float, each: float) -> int:
    return max(1, math.ceil(rate_per_s / max(each, 1e-9) - 1e-9))


def _meets(outcome: Outcome, goals: Goals) -> bool:
    return all(goals.used(outcome, metric, limit) <= 1 for metric, limit in goals.limits)


def _limit(ceiling: float, outcome: Outcome, goals: Goals) -> str:
    """The goal that is nearest to its limit, or that no more can be had."""
    used = {metric: goals.used(outcome, metric, limit) for metric, limit in goals.limits}
    tokens = goals.output_tokens_per_s is not None
    if not used or (max(used.values()) < 1 - ROOM and outcome.rate_per_s > (1 - ROOM) * ceiling):
        return "tps" if tokens else "capacity"
    return max(used, key=lambda name: used[name])


def _ceiling(replica: Replica, load: Load, goals: Goals, seed: int) -> float:
    """No rate above this one is tried."""
    margin = CLOSE if goals.output_tokens_per_s is None else TPS_MARGIN
    return (1 - margin) * saturated_per_s(replica, load, seed=seed)


def _largest(replica: Replica, load: Load, goals: Goals, most: float, seed: int) -> float:
    alone = simulate(replica, load, most / 1000, requests=200, seed=seed)
    if goals.itl_ms is not None and math.isnan(alone.value("itl", None)):
        raise SettingError("outputs of one token have no time between tokens: leave {itl} out")
    if not _meets(alone, goals):
        metric, limit = max(goals.limits, key=lambda one: goals.used(alone, *one))
        value = goals.used(alone, metric, limit) * limit
        raise UsageError(f"no rate meets the goals: a request alone has {metric.upper()} {value:.4g} ms")
    return _bisect(lambda rate: _meets(simulate(replica, load, rate, seed=seed), goals), 0.0, most)


def _near(replica: Replica, load: Load, goals: Goals, rate_per_s: float, seed: int) -> float:
    """The same, known to lie around a rate."""
    high = min(1.15 * rate_per_s, _ceiling(replica, load, goals, seed))
    return _bisect(
        lambda rate: _meets(simulate(replica, load, rate, seed=seed), goals),
        min(0.85 * rate_per_s, high),
        high,
    )


def _refined(
    replica: Replica, load: Load, goals: Goals, near: float, scatter: float, most: float, seed: int
) -> tuple[float, Outcome]:
    """Once more around a rate, with long simulations, and what happens there. Short ones miss the rare long queues that a
    mean near saturation lives on, and so find too much."""

    def run(rate: float) -> Outcome:
        return simulate(replica, load, rate, requests=AT_BEST, seed=seed)

    reach = max(REACH * scatter, 3 * CLOSE * near)
    rate = _bisect(lambda rate: _meets(run(rate), goals), max(near - reach, 0.0), min(near + reach, most))
    return rate, run(rate)


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The largest rate that holds; `high` itself is tried first."""
    if holds(high):
        return high
    for _ in range(STEPS):
        if high - low <= CLOSE * high:
            break
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _variance(
    replica: Replica,
    load: Load,
    goals: Goals,
    best: float,
    deviations: Mapping[str, float],
    covariance_alpha_beta: float,
    seed: int,
) -> float:
    """Of the rate, from that of the parameters: each is moved by two deviations, the rest is the delta method."""
    slope = {}
    for name, deviation in deviations.items():
        if deviation > 0:
            moved = _near(scaled(replica, name, 2 * deviation), load, goals, best, seed)
            slope[name] = (moved - best) / (2 * deviation)
    variance = sum((slope[name] * deviations[name]) ** 2 for name in slope)
    both = slope.get("alpha_ms", 0.0) * slope.get("beta_ms", 0.0) * covariance_alpha_beta
    return max(variance + 2 * both, 0.0)
