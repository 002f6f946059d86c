"""What a replica of known parameters does under Poisson load: simulated step by step, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vllmperf.sim.replay import Replay

REQUESTS = 40_000
WARM_UP = 0.1
"""Share of the requests that are left out at the start, while the queue fills."""
BATCHES = 30


@dataclass(frozen=True)
class Replica:
    """Parameters of the step law (docs/fit.md) and the server's limits; ms, tokens."""

    alpha_ms: float
    beta_ms: float
    step_gamma_ms: float
    step_delta_ms: float
    front_ms: float
    max_num_seqs: int
    max_num_batched_tokens: int = 8192


@dataclass(frozen=True)
class Load:
    """Requests: Poisson arrivals; lengths are even over mean*(1 ± spread)."""

    input_tokens: int
    output_tokens: int
    input_spread: float = 0.0
    output_spread: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """One value a request, warm-up left out; ITL is the request's own mean (NaN for one token)."""

    rate_per_s: float
    ttft_ms: NDArray[np.float64]
    itl_ms: NDArray[np.float64]
    queue_ms: NDArray[np.float64]
    throughput_per_s: float
    output_tokens_per_s: float

    def value(self, metric: str, percentile: float | None) -> float:
        """Mean (percentile None) or percentile (0 to 100) of "ttft" or "itl"."""
        samples = self.ttft_ms if metric == "ttft" else self.itl_ms
        return float(np.nanmean(samples) if percentile is None else np.nanpercentile(samples, percentile))

    def half_width(self, metric: str) -> float:
        """Of the 95 % interval of the mean, by means of batches of requests in a row."""
        samples = self.ttft_ms if metric == "ttft" else self.itl_ms
        means = [np.nanmean(part) for part in np.array_split(samples, BATCHES)]
        return float(2.045 * np.std(means, ddof=1) / np.sqrt(BATCHES))  # Student's t with 29 degrees


def simulate(
    replica: Replica, load: Load, rate_per_s: float, requests: int = REQUESTS, seed: int = 0
) -> Outcome:
    """The same seed gives the same requests, at any rate: outcomes differ by the rate alone."""
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(1.0, requests)) / rate_per_s
    prompts = _lengths(rng, load.input_tokens, load.input_spread, requests)
    outputs = _lengths(rng, load.output_tokens, load.output_spread, requests)
    done = serve(replica, prompts, outputs, arrival_s)
    kept = slice(int(WARM_UP * requests), None)
    last = done.requests["last_token_ns"]
    span_s = (last[kept].max() - arrival_s[kept][0] * 1e9) / 1e9
    return Outcome(
        rate_per_s=rate_per_s,
        ttft_ms=done.ttft_ms[kept],
        itl_ms=done.tpot_ms[kept],
        queue_ms=done.queue_ms[kept],
        throughput_per_s=len(arrival_s[kept]) / span_s,
        output_tokens_per_s=float(outputs[kept].sum()) / span_s,
    )


def serve(
    replica: Replica,
    prompts: NDArray[np.int64],
    outputs: NDArray[np.int64],
    arrival_s: NDArray[np.float64],
) -> Replay:
    """The replica's answers to these very requests."""
    from vllmperf.sim.replay import replay

    return replay(
        prompts,
        outputs,
        arrival_s=arrival_s,
        steps=False,
        alpha_ms=replica.alpha_ms,
        beta_ms=replica.beta_ms,
        gamma_ms=replica.step_gamma_ms,
        delta_ms=replica.step_delta_ms,
        front_ms=replica.front_ms,
        max_num_seqs=replica.max_num_seqs,
        max_num_batched_tokens=replica.max_num_batched_tokens,
        enable_prefix_caching=False,
        num_gpu_blocks=_blocks(replica, prompts, outputs),
    )


def scaled(replica: Replica, name: str, change: float) -> Replica:
    """With one parameter moved, never below 0."""
    return replace(replica, **{name: max(getattr(replica, name) + change, 0.0)})


def _lengths(rng: np.random.Generator, mean: int, spread: float, count: int) -> NDArray[np.int64]:
    low, high = max(1, round(mean * (1 - spread))), max(1, round(mean * (1 + spread)))
    return rng.integers(low, high + 1, count)


def _blocks(replica: Replica, prompts: NDArray[np.int64], outputs: NDArray[np.int64]) -> int:
    """A cache that never is the limit: the parameters say nothing of it."""
    return int(replica.max_num_seqs * (prompts.max() + outputs.max() + 32) / 16) + 1024
