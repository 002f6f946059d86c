"""How many replicas a burst needs while new ones start.

The load of a service jumps from one rate to another and stays there; replicas that are asked for at that moment serve after the
start-up time. Until then the ones that are there share the load evenly. Above what they carry their queues grow:
after t seconds at rate r a replica that serves at most m requests/s lets a request wait (r/m - 1)·t. A short start-up may thus
go by within the goals although nobody could carry the burst for long; a long one needs replicas for the whole burst.

The rule: of the requests that come between the jump and the end of the start-up, the goals must hold. Simulated with several
seeds, each with the load from before for a while, and counted together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.goal_rate import Goals
from vllmperf.model.simulate import Load, Replica, serve

BEFORE_S = 20.0
"""Of the load from before, at least; a replica fills within a few requests' time."""
LEAST_REQUESTS = 4000
"""In all seeds together: what a p99 needs."""
MOST_SEEDS = 200


@dataclass(frozen=True)
class Burst:
    """replicas: those that must run when the load jumps to rate_per_s, at the ends of the capacity's interval: least and
    most. base: those that the load before needs; spare: the difference. after: those that the burst needs once it stays.
    wait_s: how long the queue of one of `replicas` makes a request wait at the end of the start-up, as a fluid."""

    rate_per_s: float
    startup_s: float
    base: int
    replicas: int
    least: int
    most: int
    after: int
    wait_s: float

    @property
    def spare(self) -> int:
        return max(self.replicas - self.base, 0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "rate_per_s": self.rate_per_s,
            "startup_s": self.startup_s,
            "replicas": {"value": self.replicas, "ci95": [self.least, self.most]},
            "spare_replicas": {
                "value": self.spare,
                "ci95": [max(self.least - self.base, 0), max(self.most - self.base, 0)],
            },
            "replicas_before": self.base,
            "replicas_after": self.after,
            "queue_wait_s": self.wait_s,
        }


def replicas_for(
    replica: Replica,
    load: Load,
    goals: Goals,
    before_per_s: float,
    burst_per_s: float,
    startup_s: float,
    most: int,
    seed: int = 0,
) -> int:
    """The fewest that keep the goals through the start-up; `most` carry the burst for good."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        each = (before_per_s / middle, burst_per_s / middle)
        low, high = (low, middle) if _keeps(replica, load, goals, *each, startup_s, seed) else (middle, high)
    return high


def _keeps(
    replica: Replica, load: Load, goals: Goals, before: float, burst: float, startup_s: float, seed: int
) -> bool:
    seeds = min(max(math.ceil(LEAST_REQUESTS / max(burst * startup_s, 1.0)), 2), MOST_SEEDS)
    parts = [jump(replica, load, before, burst, startup_s, seed + place) for place in range(seeds)]
    seen = {
        metric: np.concatenate([part[place] for part in parts])
        for place, metric in enumerate(("ttft", "tpot"))
    }
    return all(_value(seen[metric], goals.percentile_of(metric)) <= limit for metric, limit in goals.limits)


def jump(
    replica: Replica, load: Load, before: float, burst: float, startup_s: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """TTFT and TPOT, ms, of the requests of the start-up at one replica: Poisson arrivals whose rate jumps."""
    rng = np.random.default_rng(seed)
    calm = _arrivals(rng, before, BEFORE_S)
    rush = BEFORE_S + _arrivals(rng, burst, startup_s)
    arrival_s = np.concatenate([calm, rush])
    if len(rush) == 0:
        return np.zeros(0), np.zeros(0)
    done = serve(replica, *load.draw(rng, len(arrival_s)), arrival_s)
    return done.ttft_ms[len(calm) :], done.tpot_ms[len(calm) :]


def _arrivals(rng: np.random.Generator, rate: float, seconds: float) -> NDArray[np.float64]:
    return np.sort(rng.uniform(0.0, seconds, rng.poisson(rate * seconds)))


def _value(samples: NDArray[np.float64], percentile: float | None) -> float:
    known = samples[np.isfinite(samples)]
    if len(known) == 0:
        return 0.0
    return float(known.mean() if percentile is None else np.percentile(known, percentile))


def wait_s(burst_per_s: float, most_per_s: float, startup_s: float) -> float:
    """Of a queue that grows through the start-up at a replica which gets the one rate and serves the other at most."""
    return max(burst_per_s / most_per_s - 1, 0.0) * startup_s
