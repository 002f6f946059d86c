"""What a replica of known parameters does under Poisson load: simulated step by step, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vllmperf.sim.replay import Replay

REQUESTS = 40_000
PROMPT_TOKENS = 4 * 10**8
"""A simulation takes time by the prompt token, too: very long prompts get fewer requests, at least LEAST."""
LEAST = 2000
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


DISTRIBUTIONS = ("uniform", "lognormal")
Lengths = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Tokens of prompts and of outputs, one a request."""


@dataclass(frozen=True)
class Load:
    """Requests: Poisson arrivals; mean lengths and their spread. Uniform: even over mean*(1 ± spread); lognormal: spread
    is the standard deviation over the mean. seen: requests are drawn from these instead, prompt and output together."""

    input_tokens: float
    output_tokens: float
    input_spread: float = 0.0
    output_spread: float = 0.0
    distribution: str = "uniform"
    seen: Lengths | None = field(default=None, compare=False, repr=False)

    def draw(self, rng: np.random.Generator, count: int) -> Lengths:
        """Lengths of so many requests."""
        if self.seen is not None:
            rows = rng.integers(0, len(self.seen[0]), count)
            return self.seen[0][rows], self.seen[1][rows]
        draw = _even if self.distribution == "uniform" else _lognormal
        prompts = draw(rng, self.input_tokens, self.input_spread, count)
        return prompts, draw(rng, self.output_tokens, self.output_spread, count)

    def to_dict(self) -> dict[str, Any]:
        """The `requests` of `vllmperf size --json`."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "input_spread": self.input_spread,
            "output_spread": self.output_spread,
            "distribution": "seen" if self.seen is not None else self.distribution,
        }


def load_of(seen: Lengths) -> Load:
    """Requests like these."""
    return Load(float(seen[0].mean()), float(seen[1].mean()), seen=seen)


@dataclass(frozen=True)
class Outcome:
    """One value a request, warm-up left out; TPOT is the request's own mean (NaN for one token)."""

    rate_per_s: float
    ttft_ms: NDArray[np.float64]
    tpot_ms: NDArray[np.float64]
    queue_ms: NDArray[np.float64]
    throughput_per_s: float
    output_tokens_per_s: float
    prefill_backlog_tokens: float = 0.0
    batch: float = 0.0
    kv_tokens: float = 0.0
    """Means over time, each by Little's law: tokens of prompts that have come and have no first token yet; requests that
    decode; tokens in the KV cache, without the halves of blocks that are left over."""

    def value(self, metric: str, percentile: float | None) -> float:
        """Mean (percentile None) or percentile (0 to 100) of "ttft" or "tpot"; NaN when no output had a second token."""
        samples = self._known(metric)
        if len(samples) == 0:
            return float("nan")
        return float(np.mean(samples) if percentile is None else np.percentile(samples, percentile))

    def half_width(self, metric: str) -> float:
        """Of the 95 % interval of the mean, by means of batches of requests in a row; NaN with less than one for each."""
        samples = self._known(metric)
        if len(samples) < BATCHES:
            return float("nan")
        means = [part.mean() for part in np.array_split(samples, BATCHES)]
        return float(2.045 * np.std(means, ddof=1) / np.sqrt(BATCHES))  # Student's t with 29 degrees

    def _known(self, metric: str) -> NDArray[np.float64]:
        samples = self.ttft_ms if metric == "ttft" else self.tpot_ms
        return samples[np.isfinite(samples)]


def simulate(
    replica: Replica, load: Load, rate_per_s: float, requests: int = REQUESTS, seed: int = 0
) -> Outcome:
    """The same seed gives the same requests, at any rate: outcomes differ by the rate alone."""
    rng = np.random.default_rng(seed)
    requests = _affordable(load, requests)
    arrival_s = np.cumsum(rng.exponential(1.0, requests)) / rate_per_s
    prompts, outputs = load.draw(rng, requests)
    done = serve(replica, prompts, outputs, arrival_s)
    kept = slice(int(WARM_UP * requests), None)
    last = done.requests["last_token_ns"]
    span_s = (last[kept].max() - arrival_s[kept][0] * 1e9) / 1e9
    return Outcome(
        rate_per_s=rate_per_s,
        ttft_ms=done.ttft_ms[kept],
        tpot_ms=done.tpot_ms[kept],
        queue_ms=done.queue_ms[kept],
        throughput_per_s=len(arrival_s[kept]) / span_s,
        output_tokens_per_s=float(outputs[kept].sum()) / span_s,
        **_means_over_time(done, prompts, outputs, rate_per_s, kept),
    )


def _means_over_time(
    done: Replay, prompts: NDArray[np.int64], outputs: NDArray[np.int64], rate_per_s: float, kept: slice
) -> dict[str, float]:
    """A request's prompt lies in the cache from its admission on, its outputs come one by one."""
    times = done.requests[kept]
    decoding_s = (times["last_token_ns"] - times["first_token_ns"]) / 1e9
    held_s = (times["last_token_ns"] - times["scheduled_ns"]) / 1e9
    prompt, output = prompts[kept], outputs[kept]
    return {
        "prefill_backlog_tokens": rate_per_s * float(np.mean(prompt * done.ttft_ms[kept])) / 1000,
        "batch": rate_per_s * float(decoding_s.mean()),
        "kv_tokens": rate_per_s * float(np.mean(prompt * held_s + output / 2 * decoding_s)),
    }


def saturated_per_s(replica: Replica, load: Load, requests: int = REQUESTS // 2, seed: int = 0) -> float:
    """Requests/s when the queue is never empty and the slots' phases are at random."""
    rng = np.random.default_rng(seed)
    requests = _affordable(load, requests)
    prompts, outputs = load.draw(rng, requests)
    arrival_s = np.cumsum(rng.exponential(1.0, requests)) / (1.2 * most_per_s(replica, load))
    ends = np.sort(serve(replica, prompts, outputs, arrival_s).requests["last_token_ns"])
    first, last = int(WARM_UP * requests), int((1 - WARM_UP) * requests)
    return float((last - first) / (ends[last] - ends[first]) * 1e9)


def _affordable(load: Load, requests: int) -> int:
    return min(requests, max(int(PROMPT_TOKENS / load.input_tokens), LEAST))


def most_per_s(replica: Replica, load: Load) -> float:
    """No replica carries more: all slots full, in steps that hold their share of prompts."""
    slots = replica.max_num_seqs
    share = slots / load.output_tokens
    step_ms = replica.alpha_ms + replica.beta_ms * slots + replica.step_delta_ms * load.input_tokens * share
    return share / step_ms * 1000


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


def _even(rng: np.random.Generator, mean: float, spread: float, count: int) -> NDArray[np.int64]:
    low, high = max(1, round(mean * (1 - spread))), max(1, round(mean * (1 + spread)))
    return rng.integers(low, high + 1, count)


def _lognormal(rng: np.random.Generator, mean: float, spread: float, count: int) -> NDArray[np.int64]:
    sigma = np.sqrt(np.log1p(spread**2))
    drawn = np.exp(rng.normal(np.log(mean) - sigma**2 / 2, sigma, count))
    return np.maximum(np.rint(drawn), 1).astype(np.int64)


def _blocks(replica: Replica, prompts: NDArray[np.int64], outputs: NDArray[np.int64]) -> int:
    """Enough for all: the parameters say nothing of the cache."""
    return int(replica.max_num_seqs * (prompts.max() + outputs.max() + 32) / 16) + 1024
