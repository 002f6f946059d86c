"""Series of requests whose true mean and percentiles are known: independent, autocorrelated, heavy-tailed, and a batching
server at 0.9 of its capacity, whose truth is that of all its requests together."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.rehearsal import rehearse
from vllmperf.model.simulate import Load, Replica, saturated_per_s, serve

Floats = NDArray[np.float64]
Quantile = Callable[[float], float]

REPLICA = Replica(
    alpha_ms=8,
    beta_ms=0.1,
    step_gamma_ms=0,
    step_delta_ms=0.02,
    front_ms=5,
    max_num_seqs=64,
    max_num_batched_tokens=2048,
)
LOAD = Load(256, 128, 0.5, 0.8, "lognormal")
BUSY = 0.9
WARM_UP = 3_000
GAP_CHAIN = 20_000


@dataclass(frozen=True)
class Law:
    """Values drawn from a known distribution. draw: count of runs and their length → an array of that shape."""

    name: str
    draw: Callable[[np.random.Generator, int, int], Floats]
    mean: float
    quantile: Quantile


def _ar1(phi: float, rng: np.random.Generator, runs: int, n: int) -> Floats:
    """Normal values of deviation 1 around 10, correlated by phi to the power of their distance."""
    values = rng.standard_normal((runs, n)) * math.sqrt(1 - phi * phi)
    values[:, 0] /= math.sqrt(1 - phi * phi)
    for i in range(1, n):
        values[:, i] += phi * values[:, i - 1]
    return 10 + values


def _normal(rng: np.random.Generator, runs: int, n: int) -> Floats:
    return 10 + rng.standard_normal((runs, n))


def _exponential(rng: np.random.Generator, runs: int, n: int) -> Floats:
    return rng.exponential(1.0, (runs, n))


def _lognormal(rng: np.random.Generator, runs: int, n: int) -> Floats:
    return rng.lognormal(0.0, 1.5, (runs, n))


def _pareto(rng: np.random.Generator, runs: int, n: int) -> Floats:
    return 1 + rng.pareto(2.5, (runs, n))


def _normal_quantile(p: float) -> float:
    return 10 + NormalDist().inv_cdf(p)


def _exponential_quantile(p: float) -> float:
    return -math.log(1 - p)


def _lognormal_quantile(p: float) -> float:
    return math.exp(1.5 * NormalDist().inv_cdf(p))


def _pareto_quantile(p: float) -> float:
    return float((1 - p) ** (-1 / 2.5))


NORMAL = Law("normal", _normal, 10.0, _normal_quantile)
EXPONENTIAL = Law("exponential", _exponential, 1.0, _exponential_quantile)
AR_05 = Law("AR(1), φ = 0.5", partial(_ar1, 0.5), 10.0, _normal_quantile)
AR_09 = Law("AR(1), φ = 0.9", partial(_ar1, 0.9), 10.0, _normal_quantile)
LOGNORMAL = Law("lognormal, σ = 1.5", _lognormal, math.exp(1.125), _lognormal_quantile)
PARETO = Law("Pareto, α = 2.5", _pareto, 2.5 / 1.5, _pareto_quantile)
LAWS = (NORMAL, EXPONENTIAL, AR_05, AR_09, LOGNORMAL, PARETO)


@dataclass(frozen=True)
class Served:
    """Requests of the batching server in order of send, in chains [chain, request]; ms, ns, tokens."""

    ttft_ms: Floats
    tpot_ms: Floats
    e2el_ms: Floats
    in_flight: Floats
    sent_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    tokens: NDArray[np.int64]
    rate_per_s: float


def rate_per_s() -> float:
    return BUSY * saturated_per_s(REPLICA, LOAD)


def served(chains: int, requests: int, rate: float, pool: Executor, seed: int) -> Served:
    """Chains of so many requests after a warm-up of 3,000."""
    parts = list(pool.map(partial(_chain, rate, seed, requests), range(chains)))
    ttft, tpot, e2el, in_flight, sent, end, tokens = map(np.stack, zip(*parts, strict=True))
    return Served(ttft, tpot, e2el, in_flight, sent, end, tokens, rate)


def _arrivals(rate: float, rng: np.random.Generator, count: int) -> Floats:
    return np.cumsum(rng.exponential(1.0, count)) / rate


def _chain(rate: float, seed: int, requests: int, number: int) -> tuple[NDArray[np.generic], ...]:
    rng = np.random.default_rng([seed, number])
    count = WARM_UP + requests
    prompts, outputs = LOAD.draw(rng, count)
    outputs = np.maximum(outputs, 2)
    done = serve(REPLICA, prompts, outputs, _arrivals(rate, rng, count))
    sent, end = done.requests["arrival_ns"], done.requests["last_token_ns"]
    columns = (
        done.ttft_ms,
        done.tpot_ms,
        (end - sent) / 1e6,
        in_flight(sent, end),
        sent,
        end,
        outputs,
    )
    return tuple(column[WARM_UP:].copy() for column in columns)


def in_flight(sent_ns: NDArray[np.int64], end_ns: NDArray[np.int64]) -> Floats:
    """Requests that were in flight when each was sent, requests in order of send."""
    ended = np.searchsorted(np.sort(end_ns), sent_ns, side="right")
    return (np.arange(len(sent_ns)) - ended).astype(np.float64)


@dataclass(frozen=True)
class Gaps:
    """Gaps between tokens of requests in order of send: values in ms, lengths, requests in flight at each send."""

    values_ms: NDArray[np.float32]
    lengths: NDArray[np.int64]
    in_flight: Floats


def gaps(rate: float, seed: int, number: int) -> Gaps:
    """Of 20,000 requests."""
    rng = np.random.default_rng([seed, 1, number])
    count = WARM_UP + GAP_CHAIN
    prompts, outputs = LOAD.draw(rng, count)
    settings = {
        "alpha_ms": REPLICA.alpha_ms,
        "beta_ms": REPLICA.beta_ms,
        "gamma_ms": REPLICA.step_gamma_ms,
        "delta_ms": REPLICA.step_delta_ms,
        "front_ms": REPLICA.front_ms,
        "max_num_seqs": REPLICA.max_num_seqs,
        "max_num_batched_tokens": REPLICA.max_num_batched_tokens,
        "num_gpu_blocks": 64 * 400,
    }
    run = rehearse(settings, {}, prompts, outputs, _arrivals(rate, rng, count))
    kept, lengths = int(run.gap_request[WARM_UP]), np.diff(run.gap_request)[WARM_UP:]
    flight = in_flight(run.requests["sent_ns"], run.requests["end_ns"])[WARM_UP:]
    return Gaps(run.gaps_ns[kept:] / np.float32(1e6), lengths, flight)
