"""The largest rate at which one simulated replica keeps goals for its latencies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vllmperf.errors import SettingError, UsageError
from vllmperf.model.queue import TPS_MARGIN
from vllmperf.model.simulate import REQUESTS, Load, Outcome, Replica, saturated_per_s, simulate

CLOSE = 0.002
"""The search ends when the rate is known to this share."""
STEPS = 40


@dataclass(frozen=True)
class Goals:
    """Upper limits in ms, None where there is none, for the mean or for a percentile (0 to 100): ttft_percentile and
    tpot_percentile, or percentile for both.

    output_tokens_per_s: what the whole service must produce, as the TPS target of a service class in WVA: a replica then
    keeps a tenth of its saturated rate unused, and the replicas must be enough for these tokens.
    """

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    percentile: float | None = None
    output_tokens_per_s: float | None = None
    ttft_percentile: float | None = None
    tpot_percentile: float | None = None

    def percentile_of(self, metric: str) -> float | None:
        """Of "ttft" or "tpot"; None: the mean."""
        own = self.ttft_percentile if metric == "ttft" else self.tpot_percentile
        return self.percentile if own is None else own

    @property
    def limits(self) -> list[tuple[str, float]]:
        """(metric, ms) of each latency that has a goal."""
        both = (("ttft", self.ttft_ms), ("tpot", self.tpot_ms))
        return [(metric, limit) for metric, limit in both if limit is not None]

    def to_dict(self) -> dict[str, Any]:
        """The `slo` of `vllmperf size --json`."""
        return {
            "ttft_ms": self.ttft_ms,
            "ttft_percentile": self.percentile_of("ttft"),
            "tpot_ms": self.tpot_ms,
            "tpot_percentile": self.percentile_of("tpot"),
            "output_tokens_per_s": self.output_tokens_per_s,
        }

    def used(self, outcome: Outcome, metric: str, limit: float) -> float:
        """Share of the limit."""
        return outcome.value(metric, self.percentile_of(metric)) / limit


def meets(outcome: Outcome, goals: Goals) -> bool:
    return all(goals.used(outcome, metric, limit) <= 1 for metric, limit in goals.limits)


def ceiling(replica: Replica, load: Load, goals: Goals, seed: int) -> float:
    """No rate above this one is tried."""
    margin = CLOSE if goals.output_tokens_per_s is None else TPS_MARGIN
    return (1 - margin) * saturated_per_s(replica, load, seed=seed)


def largest(replica: Replica, load: Load, goals: Goals, most: float, seed: int) -> float:
    alone = simulate(replica, load, most / 1000, requests=200, seed=seed)
    if goals.tpot_ms is not None and math.isnan(alone.value("tpot", None)):
        raise SettingError("outputs of one token have no time between tokens: leave {tpot} out")
    if not meets(alone, goals):
        metric, limit = max(goals.limits, key=lambda one: goals.used(alone, *one))
        value = goals.used(alone, metric, limit) * limit
        raise UsageError(f"no rate meets the goals: a request alone has {metric.upper()} {value:.4g} ms")
    return bisect(lambda rate: meets(simulate(replica, load, rate, seed=seed), goals), 0.0, most)


def near(
    replica: Replica, load: Load, goals: Goals, rate_per_s: float, seed: int, requests: int = REQUESTS
) -> float:
    """The same, known to lie around a rate."""
    high = min(1.15 * rate_per_s, ceiling(replica, load, goals, seed))
    return bisect(
        lambda rate: meets(simulate(replica, load, rate, requests, seed), goals),
        min(0.85 * rate_per_s, high),
        high,
    )


def bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The largest rate that holds; `high` itself is tried first."""
    if holds(high):
        return high
    for _ in range(STEPS):
        if high - low <= CLOSE * high:
            break
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
