"""What routers and autoscalers ask to be told about a replica, from a fit, each with its 95 % interval.

- Peak prefill throughput, tokens/s: C / TTFT of a lone prompt of C tokens, C = the most tokens of a step. That is what llm-d's
  calibrate.sh measures, as the median of 20 requests without an interval (llm-d/llm-d,
  guides/recipes/router/calibration, read 2026-11).
- Prefill time per token, µs: the slope of lone prompts' TTFT (delta).
- Prefill threshold, s: the backlog of prompt tokens over the peak prefill throughput, as a mean over time at the highest rate
  that keeps the goal for TTFT.
- Decode threshold: the mean use of the KV cache at the highest rate that keeps the goal for TPOT.

Both thresholds are means because KEDA's AverageValue compares means over replicas. llm-d's guide for them
(guides/workload-autoscaling/keda-epp-token-aware, read 2026-11) takes TTFT goal - prompt/V_P, of which it suggests 60 to
70 % for a percentile, and 0.8 for decode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vllmperf.model.goal_rate import Goals, ceiling, largest, near
from vllmperf.model.parameters import UNKNOWN, Z95, Fit, Parameter
from vllmperf.model.simulate import Load, Outcome, Replica, scaled, simulate

SEEDS = 4
STUDENT_3 = 3.182
REQUESTS = 15_000
"""Of each simulation: parameters are moved under the same requests, and the scatter of the seeds is in the interval."""
FULL = 0.95
"""A cache that is fuller than this on average stalls requests now and then: the goal for TPOT is not what limits."""
BEYOND = 1.05
"""Of the longest prompt and the largest batch that a fit saw: further is extrapolation."""
BLOCK = 16
"""Tokens of a block of the KV cache; half of one is empty for each request on average."""


@dataclass(frozen=True)
class Scaling:
    """Each is UNKNOWN where the fit or the goals do not tell; notes say why, and what is extrapolated.

    goals: the first two name the percentiles of TTFT and TPOT that the thresholds are for. rates: requests/s of one
    replica at those goals."""

    peak_prefill_tokens_per_s: Parameter
    chunk_tokens: int
    prefill_us_per_token: Parameter
    prefill_threshold_s: Parameter
    decode_kv_threshold: Parameter
    goals: Goals
    load: Load
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What `vllmperf fit --emit json` prints; docs/fit.md has its schema."""
        numbers = {
            "peak_prefill_throughput": ("tokens/s", self.peak_prefill_tokens_per_s),
            "prefill_time_per_token": ("us/token", self.prefill_us_per_token),
            "prefill_threshold": ("s", self.prefill_threshold_s),
            "decode_kv_threshold": ("share of the KV cache", self.decode_kv_threshold),
        }
        return {
            "schema": 1,
            **{name: one.to_dict(unit) for name, (unit, one) in numbers.items()},
            "chunk_tokens": self.chunk_tokens,
            "goals": self.goals.to_dict(),
            "requests": self.load.to_dict(),
            "notes": list(self.notes),
        }


def peak_prefill(fit: Fit, chunk_tokens: int) -> Parameter:
    """Tokens/s of a lone prompt of so many tokens, which one step computes."""
    gamma, delta = fit.gamma, fit.delta
    if gamma.value is None or delta.value is None or delta.value <= 0:
        return UNKNOWN
    ttft_ms = gamma.value + delta.value * chunk_tokens
    half = Z95 * math.sqrt(_variance(fit, chunk_tokens))
    speed = 1000 * chunk_tokens
    if half == 0 or half >= ttft_ms:
        return Parameter(speed / ttft_ms, None, None)
    return Parameter(speed / ttft_ms, speed / (ttft_ms + half), speed / (ttft_ms - half))


def _variance(fit: Fit, tokens: int) -> float:
    """Of gamma + delta*tokens; where a file does not say how both go together, as if they grew together."""
    if fit.covariance_gamma_delta is None:
        return (fit.gamma.deviation + tokens * fit.delta.deviation) ** 2
    (a, b), (_, d) = fit.covariance_gamma_delta
    return max(a + 2 * tokens * b + tokens**2 * d, 0.0)


def prefill_us(fit: Fit) -> Parameter:
    """Of a token of a prompt, µs."""
    ends = (fit.delta.value, fit.delta.low, fit.delta.high)
    return Parameter(*(None if one is None else 1000 * one for one in ends))


def scaling(
    fit: Fit,
    replica: Replica,
    deviations: Mapping[str, float],
    goals: Goals,
    load: Load,
    kv_cache_tokens: int | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
    thresholds: bool = True,
) -> Scaling:
    """goals: either, both or none. kv_cache_tokens: what the replica's KV cache holds; None takes that of the fit.
    thresholds: False leaves them out, which takes no simulation."""
    chunk = replica.max_num_batched_tokens
    peak = peak_prefill(fit, chunk)
    notes = _beyond_prompts(fit, chunk)
    prefill = decode = UNKNOWN
    if thresholds and goals.ttft_ms is not None and peak.value is not None:
        tell("the backlog of prompts at the goal for TTFT")
        only = replace(goals, tpot_ms=None)
        search = _Search(replica, deviations, only, load, seed, lambda one: one.prefill_backlog_tokens)
        prefill = _over(search.found(), peak)
        notes += search.notes(fit, "TTFT")
    if thresholds and goals.tpot_ms is not None:
        size = kv_cache_tokens or fit.kv_cache_tokens
        if size is None:
            notes.append("the decode threshold needs the size of the KV cache in tokens: --kv-cache-tokens")
        else:
            tell("the use of the KV cache at the goal for TPOT")
            only = replace(goals, ttft_ms=None)
            search = _Search(replica, deviations, only, load, seed, lambda one: _held(one) / size)
            decode = search.found()
            notes += search.notes(fit, "TPOT")
            if decode.value is not None and decode.value > FULL:
                notes.append(f"the KV cache is full before TPOT reaches its goal: use {decode.value:.2f}")
                decode = UNKNOWN
    return Scaling(peak, chunk, prefill_us(fit), prefill, decode, goals, load, tuple(notes))


def _held(outcome: Outcome) -> float:
    return outcome.kv_tokens + BLOCK / 2 * outcome.batch


def _over(backlog: Parameter, peak: Parameter) -> Parameter:
    """Seconds of backlog. The metric is divided by this very peak, so its error is no part of the threshold's."""
    ends = (backlog.value, backlog.low, backlog.high)
    return Parameter(*(None if one is None else one / (peak.value or 1.0) for one in ends))


def _beyond_prompts(fit: Fit, chunk: int) -> list[str]:
    seen = fit.valid_input_tokens
    if seen is not None and chunk > BEYOND * seen[1]:
        return [
            f"extrapolated: the fit saw prompts of {seen[0]:.0f} to {seen[1]:.0f} tokens and a step holds {chunk}: "
            f"fit with --shapes …,{chunk}/16 to measure it"
        ]
    return []


class _Search:
    """A statistic of a replica at the highest rate that keeps the goals, over seeds and parameters."""

    def __init__(
        self,
        replica: Replica,
        deviations: Mapping[str, float],
        goals: Goals,
        load: Load,
        seed: int,
        statistic: Callable[[Outcome], float],
    ) -> None:
        self.replica, self.deviations, self.goals, self.load = replica, deviations, goals, load
        self.seed, self.statistic = seed, statistic
        self.most = ceiling(replica, load, goals, seed)
        self.rate = largest(replica, load, goals, self.most, seed)
        self.outcome = simulate(replica, load, self.rate, REQUESTS, seed)

    def found(self) -> Parameter:
        values = [self._at(self.replica, self.seed + place) for place in range(SEEDS)]
        value = float(np.mean(values))
        by_chance = STUDENT_3 * float(np.std(values, ddof=1)) / math.sqrt(SEEDS)
        half = math.hypot(Z95 * self._by_parameters(values[0]), by_chance)
        return Parameter(value, max(value - half, 0.0), value + half)

    def _at(self, replica: Replica, seed: int) -> float:
        rate = near(replica, self.load, self.goals, self.rate, seed, REQUESTS)
        return self.statistic(simulate(replica, self.load, rate, REQUESTS, seed))

    def _by_parameters(self, first: float) -> float:
        """Deviation: each parameter is moved by two of its own, with the same requests."""
        moved = [
            self._at(scaled(self.replica, name, 2 * deviation), self.seed) - first
            for name, deviation in self.deviations.items()
            if deviation > 0
        ]
        return math.hypot(*(one / 2 for one in moved))

    def notes(self, fit: Fit, name: str) -> list[str]:
        told = []
        if self.rate >= 0.99 * self.most:
            told.append(
                f"{name} keeps its goal until the replica is saturated, at {self.rate:.4g} requests/s"
            )
        if self.outcome.batch > BEYOND * fit.valid_batch[1]:
            told.append(
                f"extrapolated: at the goal for {name} {self.outcome.batch:.0f} sequences decode at once, and the fit saw "
                f"{fit.valid_batch[0]:g} to {fit.valid_batch[1]:g}"
            )
        return told
