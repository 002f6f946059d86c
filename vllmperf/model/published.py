"""What the published queueing models answer to the question that `vllmperf size` answers by simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllmperf.errors import UsageError
from vllmperf.model.queue import (
    Answer,
    Chunked,
    FourParameter,
    Model,
    Shape,
    ThreeParameter,
    analyze,
    largest_rate,
)

THREE = ("alpha", "beta", "gamma")
MEANS = ("ttft_ms", "tpot_ms", "throughput_per_s", "wait_ms", "batch", "saturated_per_s")


def models(four: Mapping[str, float], three: Mapping[str, float], max_num_tokens: int) -> dict[str, Model]:
    """Those whose parameters are there. four: alpha to delta; three: alpha, beta, gamma of the newer forms."""
    found: dict[str, Model] = {}
    if {"alpha", "beta", "gamma", "delta"} <= set(four):
        found["4-parameter"] = FourParameter(four["alpha"], four["beta"], four["gamma"], four["delta"])
    if set(THREE) <= set(three):
        alpha, beta, gamma = (three[name] for name in THREE)
        found["3-parameter"] = ThreeParameter(alpha, beta, gamma)
        found["chunked"] = Chunked(alpha, beta, gamma, max_num_tokens)
    return found


def answer(
    model: Model,
    shape: Shape,
    max_batch: int,
    rate_per_s: float,
    *,
    ttft_ms: float | None = None,
    tpot_ms: float | None = None,
    tps: bool = False,
) -> dict[str, Any]:
    """Means at that rate, and the largest rate that the model allows; its goals are held against means, as these models know
    no percentiles. tps: a goal of tokens/s keeps a tenth unused. None, and why, when it allows no rate or says nothing."""
    told: dict[str, Any] = dict.fromkeys(MEANS)
    try:
        told = _means(analyze(model, shape, rate_per_s, max_batch))
        rate, limit = largest_rate(
            model,
            shape,
            max_batch,
            ttft_ms=ttft_ms,
            tpot_ms=tpot_ms,
            output_tokens_per_s=0.0 if tps else None,  # tokens are the service's, which replicas share
        )
    except UsageError as error:
        return {**told, "max_rate_per_s": None, "limited_by": None, "why_not": str(error)}
    return {**told, "max_rate_per_s": rate, "limited_by": limit, "why_not": None}


def _means(there: Answer) -> dict[str, Any]:
    values = (
        there.latencies.ttft_ms,
        there.latencies.tpot_ms,
        there.chain.throughput_per_s,
        there.chain.wait_ms,
        there.latencies.batch,
        there.max_rate_per_s,
    )
    return dict(zip(MEANS, values, strict=True))
