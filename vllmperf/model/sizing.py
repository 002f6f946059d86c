"""The largest rate that one replica carries within its SLOs, and how many replicas a load needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vllmperf.errors import UsageError
from vllmperf.model.simulate import Load, Outcome, Replica, scaled, simulate

CLOSE = 0.002
"""The search ends when the rate is known to this share."""
STEPS = 40
SEEDS = 3


@dataclass(frozen=True)
class Goals:
    """Upper limits in ms, None where there is none; percentile None means the mean. output_tokens_per_s: what a
    replica must deliver at least."""

    ttft_ms: float | None = None
    itl_ms: float | None = None
    percentile: float | None = None
    output_tokens_per_s: float | None = None


@dataclass(frozen=True)
class Sizing:
    """max_rate_per_s and its 95 % interval; limited_by: "ttft" or "itl"; outcome at that rate; replicas for the
    load that was asked for, with the interval's ends."""

    max_rate_per_s: float
    low: float
    high: float
    limited_by: str
    outcome: Outcome
    replicas: int | None
    replicas_low: int | None
    replicas_high: int | None


def size(
    replica: Replica,
    load: Load,
    goals: Goals,
    deviations: Mapping[str, float] | None = None,
    covariance_alpha_beta: float = 0.0,
    rate_per_s: float | None = None,
    seed: int = 0,
) -> Sizing:
    """deviations: standard deviation by name of a Replica's parameter (ms). rate_per_s: the whole load.

    Raises UsageError when even a request alone does not meet the goals.
    """
    if goals.ttft_ms is None and goals.itl_ms is None:
        raise UsageError("give --ttft or --itl: without a goal every rate below saturation is right")
    first = _largest(replica, load, goals, seed)
    found = [first, *(_near(replica, load, goals, first, seed + place) for place in range(1, SEEDS))]
    best = float(np.mean(found))
    half = 1.96 * math.sqrt(
        _variance(replica, load, goals, first, deviations or {}, covariance_alpha_beta, seed)
        + float(np.var(found, ddof=1)) / SEEDS
    )
    low, high = max(best - half, 0.0), best + half
    outcome = simulate(replica, load, best, seed=seed)
    counts = [None if rate_per_s is None else _count(rate_per_s, one) for one in (best, high, low)]
    return Sizing(best, low, high, _limit(outcome, goals), outcome, *counts)


def _count(rate_per_s: float, each: float) -> int:
    return max(1, math.ceil(rate_per_s / max(each, 1e-9) - 1e-9))


def _saturation(replica: Replica, load: Load) -> float:
    """No replica carries more: all slots full, in steps that hold their share of prompts."""
    slots = replica.max_num_seqs
    share = slots / load.output_tokens
    step_ms = replica.alpha_ms + replica.beta_ms * slots + replica.step_delta_ms * load.input_tokens * share
    return share / step_ms * 1000


def _meets(outcome: Outcome, goals: Goals) -> bool:
    return all(outcome.value(metric, goals.percentile) <= limit for metric, limit in _limits(goals))


def _limits(goals: Goals) -> list[tuple[str, float]]:
    both = (("ttft", goals.ttft_ms), ("itl", goals.itl_ms))
    return [(metric, limit) for metric, limit in both if limit is not None]


def _limit(outcome: Outcome, goals: Goals) -> str:
    """The goal that is nearest to its limit."""
    return max(_limits(goals), key=lambda one: outcome.value(one[0], goals.percentile) / one[1])[0]


def _largest(replica: Replica, load: Load, goals: Goals, seed: int) -> float:
    most = _saturation(replica, load)
    alone = simulate(replica, load, most / 1000, requests=200, seed=seed)
    if not _meets(alone, goals):
        metric = _limit(alone, goals)
        value = alone.value(metric, goals.percentile)
        raise UsageError(f"no rate meets the goals: a request alone has {metric.upper()} {value:.4g} ms")
    return _bisect(lambda rate: _meets(simulate(replica, load, rate, seed=seed), goals), 0.0, most)


def _near(replica: Replica, load: Load, goals: Goals, rate_per_s: float, seed: int) -> float:
    """The same, known to lie around a rate."""
    return _bisect(
        lambda rate: _meets(simulate(replica, load, rate, seed=seed), goals),
        0.85 * rate_per_s,
        1.15 * rate_per_s,
    )


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
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
