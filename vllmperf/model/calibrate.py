"""The capacity that a fitted law stands for, held against what the server really did.

The very requests of a recorded run (when they came, how long they were) are served once more by the law. Both sides have
the same bursts and lulls, so that their difference is the law's error alone, not chance of the arrivals. It is taken
as one factor on all times of the law, with its scatter over blocks of time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.definitions import per_request
from vllmperf.metrics.view import COMPLETED, Rows
from vllmperf.model.simulate import WARM_UP, Replica, serve
from vllmperf.model.slo import Limits
from vllmperf.record.table import Requests

if TYPE_CHECKING:
    from vllmperf.sim.replay import Replay

NONE = _engine.NONE
Drawn = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Prompts, outputs, and arrivals at one a second."""
CURVE = (
    0.05,
    0.2,
    0.35,
    0.5,
    0.57,
    0.62,
    0.67,
    0.72,
    0.76,
    0.8,
    0.86,
    0.9,
    0.93,
    0.96,
    0.98,
    1.0,
    1.02,
    1.04,
)
BLOCKS = 6
NUDGE = 0.01
REQUESTS = 40_000
SEEDS = 4
CLOSE, NEAR = 0.002, 0.02
"""The rate is known to this share in the end, and by the first, small simulation. One simulation of a few requests is
not worth more than the latter."""
FEWER = 4
TIMES = ("alpha_ms", "beta_ms", "step_gamma_ms", "step_delta_ms", "front_ms")


@dataclass(frozen=True)
class Calibration:
    """slowness: factor on all times of the law; log_deviation: of its logarithm, blocks: behind it."""

    slowness: float
    log_deviation: float
    blocks: int


def slowed(replica: Replica, factor: float) -> Replica:
    """All times of the law times a factor."""
    return replace(replica, **{name: getattr(replica, name) * factor for name in TIMES})


def calibrate(runs: Sequence[Requests], replica: Replica) -> Calibration:
    """runs: the requests of runs that were not cut short. ValueError when there is too little to compare."""
    parts = [_blocks(requests, replica) for requests in runs]
    factors, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    if len(factors) < 3:
        raise ValueError("too few requests to hold the law against")
    weights = weights / weights.sum()
    mean = float(weights @ factors)
    spread = float(np.sqrt(np.sum(weights**2 * (factors - mean) ** 2) * len(factors) / (len(factors) - 1)))
    return Calibration(float(np.exp(mean)), spread, len(factors))


def _blocks(requests: Requests, replica: Replica) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithm of the factor that makes the law as slow as the server, and its weight, for blocks of requests."""
    done = requests[
        (requests["outcome"] == COMPLETED)
        & (requests["prompt_tokens"] != NONE)
        & (requests["output_tokens"] > 1)
    ]
    done = done[np.argsort(done["sent_ns"], kind="stable")]
    if len(done) < 5 * BLOCKS:
        return np.zeros(0), np.zeros(0)
    seen = per_request(Rows(done), "e2el") / 1e6
    law, slower = (_latency_ms(slowed(replica, factor), done) for factor in (1.0, 1.0 + NUDGE))
    parts = np.array_split(np.arange(len(done)), BLOCKS)
    factors, weights = [], []
    for part in parts:
        slope = np.log(slower[part].sum() / law[part].sum()) / np.log(1 + NUDGE)
        slope = max(slope, 0.5)
        factors.append(np.log(seen[part].sum() / law[part].sum()) / slope)
        weights.append(len(part) * slope)
    return np.array(factors), np.array(weights)


def _latency_ms(replica: Replica, requests: Requests) -> NDArray[np.float64]:
    sent = (requests["sent_ns"] - requests["sent_ns"][0]) / 1e9
    done = serve(
        replica, requests["prompt_tokens"].astype(np.int64), requests["output_tokens"].astype(np.int64), sent
    )
    return np.asarray((done.requests["last_token_ns"] - done.requests["arrival_ns"]) / 1e6)


def law_capacity(
    replica: Replica,
    lengths: tuple[NDArray[np.int64], NDArray[np.int64]],
    limits: Limits,
    seeds: int = SEEDS,
    requests: int = REQUESTS,
) -> tuple[float, float]:
    """(rate/s, deviation of its logarithm by chance of the simulation). lengths: of prompts and outputs as seen.

    The goal is held against the mean of all simulations: bad requests come in rare bursts, and the rate that a single
    one keeps the goal at is too high in most of them.
    """
    drawn = [_drawn(lengths, seed, requests) for seed in range(seeds)]

    def shares(rate: float) -> NDArray[np.float64]:
        return np.array([_kept(_served(replica, one, rate), limits) for one in drawn])

    def holds(rate: float) -> bool:
        return bool(shares(rate).mean() >= limits.share)

    most = max(_most(replica, prompts, outputs) for prompts, outputs, _ in drawn)
    if seeds == 1:
        return _bisect(holds, 0.0, most, NEAR), 0.0
    near, _ = law_capacity(replica, lengths, limits, 1, requests // FEWER)
    low, high = near * (1 - 2 * NEAR), near * (1 + NEAR)
    while low > 0 and not holds(low):
        low, high = low * (1 - 2 * NEAR), low
    while high < most and holds(high):
        low, high = high, high * (1 + 2 * NEAR)
    rate = _bisect(holds, low, high, CLOSE)
    return rate, _chance(shares, rate)


@dataclass(frozen=True)
class Point:
    """What the law says of one rate: means in ms, the times within which the share of the SLO lies, and the share of
    requests that keep the limits."""

    rate_per_s: float
    ttft_ms: float
    tpot_ms: float | None
    ttft_of_share_ms: float
    tpot_of_share_ms: float | None
    goodput: float


def law_curve(
    replica: Replica, lengths: tuple[NDArray[np.int64], NDArray[np.int64]], limits: Limits, rate: float
) -> tuple[Point, ...]:
    """Around the capacity `rate`: where the knee is."""
    drawn = _drawn(lengths, 0, REQUESTS)
    return tuple(_point(replica, drawn, factor * rate, limits) for factor in CURVE)


def _point(replica: Replica, drawn: Drawn, rate: float, limits: Limits) -> Point:
    done = _served(replica, drawn, rate)
    later = slice(int(WARM_UP * len(drawn[0])), None)
    ttft, tpot = done.ttft_ms[later], done.tpot_ms[later]
    said = bool(np.isfinite(tpot).any())
    return Point(
        rate_per_s=rate,
        ttft_ms=float(ttft.mean()),
        tpot_ms=float(np.nanmean(tpot)) if said else None,
        ttft_of_share_ms=float(np.quantile(ttft, limits.share)),
        tpot_of_share_ms=float(np.nanquantile(tpot, limits.share)) if said else None,
        goodput=_kept(done, limits),
    )


def _bisect(holds: Callable[[float], bool], low: float, high: float, close: float) -> float:
    while high - low > close * high:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low or high


def _drawn(lengths: tuple[NDArray[np.int64], NDArray[np.int64]], seed: int, requests: int) -> Drawn:
    rng = np.random.default_rng(seed)
    unit = np.cumsum(rng.exponential(1.0, requests))
    rows = rng.integers(0, len(lengths[0]), requests)
    return lengths[0][rows], lengths[1][rows], unit


def _chance(shares: Callable[[float], NDArray[np.float64]], rate: float) -> float:
    """Deviation of the rate's logarithm: that of the mean share, over its slope."""
    near = [shares(rate * factor) for factor in (1 - NUDGE, 1 + NUDGE)]
    slope = float(near[0].mean() - near[1].mean()) / (2 * NUDGE)
    spread = float(np.concatenate([near[0] - near[0].mean(), near[1] - near[1].mean()]).std())
    return min(spread / np.sqrt(len(near[0]) - 1) / slope, 1.0) if slope > 0 else 1.0


def _most(replica: Replica, prompts: NDArray[np.int64], outputs: NDArray[np.int64]) -> float:
    share = replica.max_num_seqs / float(outputs.mean())
    step_ms = replica.alpha_ms + replica.beta_ms * replica.max_num_seqs
    step_ms += replica.step_delta_ms * float(prompts.mean()) * share
    return share / step_ms * 1000


def _served(replica: Replica, drawn: Drawn, rate: float) -> Replay:
    prompts, outputs, unit_s = drawn
    return serve(replica, prompts, outputs, unit_s / rate)


def _kept(done: Replay, limits: Limits) -> float:
    kept = np.ones(len(done.requests), dtype=bool)
    if limits.ttft_ms is not None:
        kept &= done.ttft_ms <= limits.ttft_ms
    if limits.tpot_ms is not None:
        kept &= ~(done.tpot_ms > limits.tpot_ms)
    return float(kept[int(WARM_UP * len(kept)) :].mean())


def interval(rate: float, calibration: Calibration, chance: float) -> tuple[float, float]:
    """95 % ends of the capacity: the rate falls as the law's times grow."""
    from scipy import stats

    deviation = float(np.hypot(calibration.log_deviation, chance))
    half = float(stats.t.ppf(0.975, max(calibration.blocks - 1, 1))) * deviation
    return float(rate * np.exp(-half)), float(rate * np.exp(half))
