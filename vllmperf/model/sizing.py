"""The largest rate that one replica carries within its SLOs, and how many replicas a load needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vllmperf.errors import SettingError
from vllmperf.model.burst import Burst
from vllmperf.model.cost import Cost
from vllmperf.model.goal_rate import CLOSE, Goals, bisect, ceiling, largest, meets, near
from vllmperf.model.simulate import Load, Outcome, Replica, saturated_per_s, scaled, simulate
from vllmperf.shown import Shown, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA = 1
PERCENTILES = (50, 90, 99)
ROOM = 0.01
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


@dataclass(frozen=True, repr=False)
class Sizing(Shown):
    """What one replica carries within goals, in requests/s: max_rate_per_s and its 95 % interval.

    limited_by: "ttft", "tpot", "tps" or "capacity" (the goals
    never bind: the replica is saturated first); outcome at that rate; replicas for the
    load that was asked for, with the interval's ends; each_per_s: the rate of one of them.

    >>> import vllmperf as vp
    >>> found = vp.size({"alpha": 7, "beta": 0.1}, tpot="mean:7.3", max_num_seqs=4, output_len=8, rate=100)
    >>> found.each_per_s * found.replicas, found.to_dict()["limited_by"]
    (100.0, 'tpot')
    """

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
    published: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """What published.answer() gives, by the name of the model."""
    basis: tuple[str, ...] = ()
    """What the answer rests on; then, a sentence each, what of it is extrapolated."""
    cost: Cost | None = None
    burst: Burst | None = None
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

    def to_dict(self) -> dict[str, object]:
        """The object that `vllmperf size --json` prints; docs/sizing.md has its schema."""
        return {
            "schema": SCHEMA,
            "max_rate_per_s": {"value": self.max_rate_per_s, "ci95": [self.low, self.high]},
            "limited_by": self.limited_by,
            "slo": self.goals.to_dict(),
            "requests": self.load.to_dict(),
            "at_max_rate": {metric: _values(self.outcome, metric) for metric in ("ttft", "tpot")},
            "output_tokens_per_s": self.outcome.output_tokens_per_s,
            "replicas": None
            if self.replicas is None
            else {"value": self.replicas, "ci95": [self.replicas_low, self.replicas_high]},
            "rate_of_each_per_s": self.each_per_s,
            "rests_on": list(self.basis),
            "cost": None if self.cost is None else self._cost(self.cost),
            "burst": None if self.burst is None else self.burst.to_dict(),
            "published_models": {name: dict(one) for name, one in self.published.items()} or None,
        }

    def _cost(self, cost: Cost) -> dict[str, Any]:
        """At the largest rate, and at that of each replica of the load that was asked for."""
        each = None if self.each_per_s is None else cost.scaled(self.each_per_s / self.max_rate_per_s)
        hourly = (
            None if cost.price is None or self.replicas is None else cost.price * cost.gpus * self.replicas
        )
        return {
            "gpus": cost.gpus,
            "price_per_gpu_hour": cost.price,
            "at_max_rate": cost.to_dict(),
            "at_the_load": None if each is None else each.to_dict(),
            "per_hour": hourly,
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
        raise SettingError(
            "give {ttft}, {tpot} or {tps}: without a goal every rate below saturation is right"
        )
    tell("looking for the rate at which the replica is saturated")
    most = ceiling(replica, load, goals, seed)
    tell(f"looking for the rate within the goals, 1 of {SEEDS}: below {most:.4g}/s")
    first = largest(replica, load, goals, most, seed)
    found = [first]
    for place in range(1, SEEDS):
        tell(f"looking for the rate within the goals, {place + 1} of {SEEDS}: near {first:.4g}/s")
        found.append(near(replica, load, goals, first, seed + place))
    scatter = float(np.std(found, ddof=1))
    tell(f"long simulations near {float(np.mean(found)):.4g}/s")
    best, outcome = _refined(replica, load, goals, float(np.mean(found)), scatter, most, seed + SEEDS)
    tell("how the rate follows the parameters")
    half = math.hypot(
        Z95
        * math.sqrt(_variance(replica, load, goals, first, deviations or {}, covariance_alpha_beta, seed)),
        STUDENT_4 * scatter / math.sqrt(SEEDS),
    )
    low, high = max(best - half, 0.0), best + half
    whole = _whole(goals, load, rate_per_s)
    limit = _limit(most, outcome, goals)
    if whole is None:
        return Sizing(best, low, high, limit, outcome, None, None, None, None, goals, load, replica=replica)
    count, least, worst = (_count(whole, one) for one in (best, high, low))
    return Sizing(
        best, low, high, limit, outcome, count, least, worst, whole / count, goals, load, replica=replica
    )


def _whole(goals: Goals, load: Load, rate_per_s: float | None) -> float | None:
    """The load of the service: as asked for, or as its tokens need it."""
    tokens = goals.output_tokens_per_s
    asked = [one for one in (rate_per_s, None if tokens is None else tokens / load.output_tokens) if one]
    return max(asked, default=None)


def _count(rate_per_s: float, each: float) -> int:
    return max(1, math.ceil(rate_per_s / max(each, 1e-9) - 1e-9))


def _limit(most: float, outcome: Outcome, goals: Goals) -> str:
    """The goal that is nearest to its limit, or that no more can be had."""
    used = {metric: goals.used(outcome, metric, limit) for metric, limit in goals.limits}
    tokens = goals.output_tokens_per_s is not None
    if not used or (max(used.values()) < 1 - ROOM and outcome.rate_per_s > (1 - ROOM) * most):
        return "tps" if tokens else "capacity"
    return max(used, key=lambda name: used[name])


def _refined(
    replica: Replica, load: Load, goals: Goals, around: float, scatter: float, most: float, seed: int
) -> tuple[float, Outcome]:
    """Once more around a rate, with long simulations, and what happens there. Short ones miss the rare long queues that a
    mean near saturation lives on, and so find too much."""

    def run(rate: float) -> Outcome:
        return simulate(replica, load, rate, requests=AT_BEST, seed=seed)

    reach = max(REACH * scatter, 3 * CLOSE * around)
    rate = bisect(lambda rate: meets(run(rate), goals), max(around - reach, 0.0), min(around + reach, most))
    return rate, run(rate)


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
            moved = near(scaled(replica, name, 2 * deviation), load, goals, best, seed)
            slope[name] = (moved - best) / (2 * deviation)
    variance = sum((slope[name] * deviations[name]) ** 2 for name in slope)
    both = slope.get("alpha_ms", 0.0) * slope.get("beta_ms", 0.0) * covariance_alpha_beta
    return max(variance + 2 * both, 0.0)
