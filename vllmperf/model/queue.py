"""The published queueing models of one replica: WVA's analyzer in its 4-parameter, 3-parameter and chunked forms.

All three are the queue M/M/1/K whose service rate depends on how many are in service: p_i is proportional to the
product of rate/mu(min(j, N)) for j = 1 to i, mu(n) = n / (time in service of each of n). They differ in that time and
in how latencies are read from the queue. Sources: llm-d WVA up to 2026-02 (4 parameters), to 2026-08 (3 parameters),
queue-analysis of 2026-06 (chunked). docs/queueing.md has what they are worth against a simulation of a known law.

TPOT is what these models call ITL: a request's mean. Units: ms, requests/s, tokens. `n` is the number of requests in
service, at most max_batch = N.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vllmperf.errors import UsageError

Floats = NDArray[np.float64]

QUEUE_PER_PLACE = 10
"""Queue places for each place in service, as WVA has it (MaxQueueToBatchRatio)."""
USABLE = 0.999
"""Share of mu(N) up to which rates count as valid, and of mu(1) by 1000 from which they do."""
TPS_MARGIN = 0.1
"""A goal of tokens/s must be met with this share of the largest rate unused."""
SEARCH_STEPS = 60


@dataclass(frozen=True)
class Shape:
    """Mean tokens of a request."""

    input_tokens: float
    output_tokens: float


@dataclass(frozen=True)
class Chain:
    """What the queue does in the steady state; times in ms, in_service and in_system are means over time."""

    throughput_per_s: float
    response_ms: float
    wait_ms: float
    service_ms: float
    in_service: float
    in_system: float
    max_batch: int


@dataclass(frozen=True)
class Latencies:
    """batch: the mean number of requests in service that the latencies were computed with."""

    ttft_ms: float
    tpot_ms: float
    batch: float


@dataclass(frozen=True)
class Answer:
    """What a model says of one rate."""

    chain: Chain
    latencies: Latencies
    max_rate_per_s: float  # the upper end of the valid range


class Model(Protocol):
    """One published form."""

    def service_ms(self, n: Floats, shape: Shape) -> Floats:
        """How long each of n requests is in service."""

    def latencies(self, chain: Chain, shape: Shape) -> Latencies: ...


@dataclass(frozen=True)
class FourParameter:
    """ITL = alpha + beta*n, prefill = gamma + delta*input*n, as if all in service were prefilled at once."""

    alpha: float
    beta: float
    gamma: float
    delta: float

    def service_ms(self, n: Floats, shape: Shape) -> Floats:
        prefill = self.gamma + self.delta * shape.input_tokens * n
        return prefill + (shape.output_tokens - 1) * (self.alpha + self.beta * n)

    def latencies(self, chain: Chain, shape: Shape) -> Latencies:
        gaps = shape.output_tokens - 1
        slope = self.delta * shape.input_tokens + self.beta * gaps
        batch = (chain.service_ms - self.gamma - self.alpha * gaps) / slope if slope > 0 else chain.in_service
        batch = min(max(batch, 0.0), float(chain.max_batch))
        prefill = self.gamma + self.delta * shape.input_tokens * batch
        return Latencies(chain.wait_ms + prefill, self.alpha + self.beta * batch, batch)


@dataclass(frozen=True)
class ThreeParameter:
    """alpha of an iteration, beta of each computed token, gamma of each pair of a token and its context."""

    alpha: float
    beta: float
    gamma: float

    def _iteration(self, n: Floats, shape: Shape) -> Floats:
        tokens_in, tokens_out = shape.input_tokens, shape.output_tokens
        compute = self.beta * (tokens_in + tokens_out) / (tokens_out + 1)
        return self.alpha + n * (compute + self.gamma * (tokens_in + tokens_out / 2))

    def _prefill(self, n: Floats, shape: Shape) -> Floats:
        return self._iteration(n, shape) + (self.beta + self.gamma) * shape.input_tokens

    def service_ms(self, n: Floats, shape: Shape) -> Floats:
        context = shape.input_tokens + shape.output_tokens / 2
        decode = self._iteration(n, shape) + self.beta + self.gamma * context
        return self._prefill(n, shape) + shape.output_tokens * decode

    def latencies(self, chain: Chain, shape: Shape) -> Latencies:
        prefill = float(self._prefill(np.array(chain.in_service), shape))
        tpot = (chain.service_ms - prefill) / shape.output_tokens
        return Latencies(chain.wait_ms + prefill + tpot, tpot, chain.in_service)


@dataclass(frozen=True)
class Chunked:
    """The later 3-parameter form: prompts come in `chunks` parts, and no work is counted twice.

    chunks 0: the fewest with which max_batch requests fit into steps of max_num_tokens.
    """

    alpha: float
    beta: float
    gamma: float
    max_num_tokens: int = 8192
    chunks: int = 0

    def fitted(self, shape: Shape, max_batch: int) -> Chunked:
        return self if self.chunks else replace(self, chunks=self._chunks(shape, max_batch))

    def _chunks(self, shape: Shape, max_batch: int) -> int:
        tokens_in, tokens_out = shape.input_tokens, shape.output_tokens
        for chunks in range(1, max(1, math.ceil(tokens_in)) + 1):
            room = (chunks + tokens_out) * (self.max_num_tokens - tokens_in / chunks)
            if math.floor(room / (tokens_in + tokens_out)) >= max_batch:
                return chunks
        raise UsageError(
            f"{max_batch} requests of {tokens_in:g}/{tokens_out:g} tokens do not fit into steps of "
            f"{self.max_num_tokens} tokens; raise the tokens or lower the batch"
        )

    def _prompt(self, shape: Shape) -> float:
        return (self.beta + self.gamma * (self.chunks + 1) / 2) * shape.input_tokens

    def _per_request(self, shape: Shape) -> float:
        """Work of one request, spread over its steps."""
        tokens_out = shape.output_tokens
        said = self.beta * tokens_out + self.gamma * tokens_out * (shape.input_tokens + (tokens_out + 1) / 2)
        return (self._prompt(shape) + said) / (self.chunks + tokens_out)

    def service_ms(self, n: Floats, shape: Shape) -> Floats:
        return (self.chunks + shape.output_tokens) * (self.alpha + n * self._per_request(shape))

    def latencies(self, chain: Chain, shape: Shape) -> Latencies:
        others = (chain.in_service - 1) * self._per_request(shape)
        prefill = self.chunks * (self.alpha + others) + self._prompt(shape)
        tpot = (chain.service_ms - prefill) / shape.output_tokens
        return Latencies(chain.wait_ms + prefill + tpot, tpot, chain.in_service)


def _fitted(model: Model, shape: Shape, max_batch: int) -> Model:
    return model.fitted(shape, max_batch) if isinstance(model, Chunked) else model


def chain(rate_per_s: float, service_ms: Floats, places: int) -> Chain:
    """The queue's steady state: service_ms[n - 1] is the time in service of each of n, places N and queue."""
    batch = np.arange(1, len(service_ms) + 1)
    rates = np.full(places, batch[-1] / service_ms[-1])
    rates[: len(batch)] = batch[:places] / service_ms[:places]
    # Products of many factors: only their logarithms are of a size that numbers can have.
    logs = np.concatenate([[0.0], np.cumsum(np.log(rate_per_s / 1000) - np.log(rates))])
    share = np.exp(logs - logs.max())
    share /= share.sum()
    i = np.arange(places + 1)
    through = rate_per_s / 1000 * float(share[:-1].sum())
    in_system = float(share @ i)
    in_service = float(share @ np.minimum(i, len(batch)))
    response, service = in_system / through, in_service / through
    return Chain(through * 1000, response, response - service, service, in_service, in_system, len(batch))


def max_rate(model: Model, shape: Shape, max_batch: int) -> float:
    """The upper end of the valid range of rates: 0.999 of mu(N)."""
    fitted = _fitted(model, shape, max_batch)
    return USABLE * max_batch / float(fitted.service_ms(np.array(float(max_batch)), shape)) * 1000


def min_rate(model: Model, shape: Shape, max_batch: int) -> float:
    """The lower end: a thousandth of mu(1)."""
    fitted = _fitted(model, shape, max_batch)
    return (1 - USABLE) / float(fitted.service_ms(np.array(1.0), shape)) * 1000


def analyze(
    model: Model, shape: Shape, rate_per_s: float, max_batch: int, queue: int | None = None
) -> Answer:
    """What the model says of the rate; queue: places for those that wait, 10*max_batch when None.

    UsageError when a number is not positive, or a time in service that the parameters give. Rates above max_rate are
    answered: the queue is full then.
    """
    if rate_per_s <= 0 or max_batch < 1 or shape.input_tokens < 0 or shape.output_tokens < 1:
        raise UsageError("rate, batch and output tokens must be positive, at least one output token")
    places = max_batch + (QUEUE_PER_PLACE * max_batch if queue is None else queue)
    fitted = _fitted(model, shape, max_batch)
    service_ms = fitted.service_ms(np.arange(1.0, max_batch + 1), shape)
    if not (service_ms > 0).all():
        raise UsageError(
            "by these parameters a request takes no time: this model says nothing of such requests"
        )
    steady = chain(rate_per_s, service_ms, places)
    return Answer(steady, fitted.latencies(steady, shape), max_rate(fitted, shape, max_batch))


def largest_rate(
    model: Model,
    shape: Shape,
    max_batch: int,
    *,
    ttft_ms: float | None = None,
    tpot_ms: float | None = None,
    output_tokens_per_s: float | None = None,
    queue: int | None = None,
) -> tuple[float, str]:
    """The largest valid rate that keeps the mean latencies, and what limits it: "ttft", "tpot", "tps" or "capacity".

    As WVA's Size(): each goal is searched by bisection in the valid range; a goal of tokens/s keeps a tenth of the
    capacity unused. UsageError when even the smallest valid rate misses a goal.
    """
    low, top = min_rate(model, shape, max_batch), max_rate(model, shape, max_batch)

    def seen(rate: float) -> Latencies:
        return analyze(model, shape, rate, max_batch, queue).latencies

    bounds = {"capacity": top}
    if ttft_ms is not None:
        bounds["ttft"] = _largest("TTFT", ttft_ms, lambda rate: seen(rate).ttft_ms, low, top)
    if tpot_ms is not None:
        bounds["tpot"] = _largest("TPOT", tpot_ms, lambda rate: seen(rate).tpot_ms, low, top)
    if output_tokens_per_s is not None:
        bounds["tps"] = top * (1 - TPS_MARGIN)
        if bounds["tps"] * shape.output_tokens < output_tokens_per_s:
            raise UsageError(
                f"one replica gives at most {bounds['tps'] * shape.output_tokens:.4g} tokens/s by this model, "
                f"less than {output_tokens_per_s:g}; lower the goal"
            )
    limit = min(bounds, key=lambda name: bounds[name])
    return bounds[limit], limit


def _largest(name: str, goal: float, value: Callable[[float], float], low: float, high: float) -> float:
    if value(low) > goal:
        raise UsageError(
            f"even a request alone has {value(low):.4g} ms of {name} by this model, more than the goal of {goal:g}"
        )
    if value(high) <= goal:
        return high
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if value(middle) <= goal else (low, middle)
    return low


def four_parameter(
    rate_per_s: float,
    *,
    alpha: float,
    beta: float,
    gamma: float,
    delta: float,
    input_tokens: float,
    output_tokens: float,
    max_batch: int,
) -> dict[str, float]:
    """What the 4-parameter form says of a rate, as a flat dictionary: rates in 1/s, times in ms."""
    model = FourParameter(alpha, beta, gamma, delta)
    answer = analyze(model, Shape(input_tokens, output_tokens), rate_per_s, max_batch)
    return {
        "throughput_per_s": answer.chain.throughput_per_s,
        "response_ms": answer.chain.response_ms,
        "wait_ms": answer.chain.wait_ms,
        "batch": answer.latencies.batch,
        "ttft_ms": answer.latencies.ttft_ms,
        "tpot_ms": answer.latencies.tpot_ms,
        "max_rate_per_s": answer.max_rate_per_s,
    }
