"""benchmarks.json of guidellm 0.3, key for key in its order: one benchmark from its requests.

Source: guidellm 0.3.1, benchmark/benchmark.py and scheduler/result.py. Metric definitions, all of one request:
latency = end − start in s; TTFT = first token − start; ITL = (last − first)/(n − 1), weighted by n − 1;
TPOT = (last − first)/n, weighted by n; n = output tokens. Its percentiles of ITL are those of request means.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllmperf.formats.guidellm_statistics import (
    concurrency,
    distribution,
    request_rate,
    token_rate,
    unmeasured,
)

STATUSES = ("successful", "errored", "incomplete")
ALL = (*STATUSES, "total")
CUT = "TimeoutError: The request timed out before completing."
"""guidellm's error text of a request that the end of the benchmark cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request that was sent. Times in Unix seconds, None where there was no token.

    status: one of STATUSES. targeted: when it should have been sent; in a closed loop when its slot was free.
    """

    id: str
    type: str
    status: str
    prompt: str
    output: str
    prompt_tokens: int
    output_tokens: int
    targeted: float
    start: float
    end: float
    first: float | None
    last: float | None
    error: str | None = None
    worker: int = 0

    @property
    def latency_s(self) -> float:
        return self.end - self.start

    @property
    def ttft_ms(self) -> float | None:
        return None if self.first is None else 1000 * (self.first - self.start)

    @property
    def tpot_ms(self) -> float | None:
        if self.first is None or self.last is None or not self.output_tokens:
            return None
        return 1000 * (self.last - self.first) / self.output_tokens

    @property
    def itl_ms(self) -> float | None:
        if self.first is None or self.last is None:
            return None
        gaps = self.output_tokens - 1
        return 1000 * (self.last - self.first) / gaps if gaps > 0 else None

    def per_second(self, tokens: int) -> float:
        return tokens / self.latency_s if self.latency_s > 0 else 0.0


def benchmark(
    head: Mapping[str, Any],
    requests: Sequence[Request],
    all_requests: Sequence[Request],
    times: Mapping[str, float],
) -> dict[str, Any]:
    """One entry of "benchmarks".

    head: type_ to request_loader and extras as they stand in the file, but for run_stats. requests: those that
    count; all_requests: with those of warm-up and cool-down. times: start_time and end_time of the whole run.
    """
    start, end = min(item.start for item in requests), max(item.end for item in requests)
    made = {**times, "requests_made": totals(all_requests), **_delays(all_requests)}
    return {
        **{name: head[name] for name in ("type_", "id_", "run_id", "args")},
        "run_stats": made,
        **{name: head[name] for name in ("worker", "request_loader", "extras")},
        "metrics": metrics(requests),
        "start_time": start,
        "end_time": end,
        "request_totals": totals(requests),
        "request_samples": None,
        "requests": {
            **{status: [row(item) for item in requests if item.status == status] for status in STATUSES},
            "total": None,
        },
        "duration": end - start,
    }


def totals(requests: Sequence[Request]) -> dict[str, int]:
    counts = {status: sum(item.status == status for item in requests) for status in STATUSES}
    return {**counts, "total": len(requests)}


def _delays(requests: Sequence[Request]) -> dict[str, float]:
    """Means in s. There are no worker processes here: what waits there is waiting for a slot."""

    def mean(values: Callable[[Request], float]) -> float:
        return sum(map(values, requests)) / len(requests)

    late = mean(lambda item: item.start - item.targeted)
    return {
        "queued_time_avg": late,
        "scheduled_time_delay_avg": 0.0,
        "scheduled_time_sleep_avg": 0.0,
        "worker_start_delay_avg": 0.0,
        "worker_time_avg": mean(lambda item: item.latency_s),
        "worker_start_time_targeted_delay_avg": late,
        "request_start_time_delay_avg": 0.0,
        "request_start_time_targeted_delay_avg": late,
        "request_time_delay_avg": 0.0,
        "request_time_avg": mean(lambda item: item.latency_s),
    }


# ---- metrics ----

Summed = Callable[[Sequence[Request]], dict[str, Any]]


def metrics(requests: Sequence[Request]) -> dict[str, Any]:
    """All metric blocks, each by status."""
    by_status = {status: [item for item in requests if item.status == status] for status in STATUSES}
    by_status["total"] = [*by_status["successful"], *by_status["incomplete"], *by_status["errored"]]
    return {
        name: {status: _block(summed(by_status[status]), name, status) for status in ALL}
        for name, summed in METRICS.items()
    }


def _block(found: dict[str, Any], name: str, status: str) -> dict[str, Any]:
    """null for what was not measured. Without errored or incomplete requests their blocks keep guidellm's zeros: it
    loads no file with nulls, and every run has such blocks."""
    return unmeasured() if not found["count"] and name in OF_REQUESTS and status in REPORTED else found


def _values(value: Callable[[Request], float | None], least: int = 0) -> Summed:
    """Equal weights; only requests with so many output tokens."""
    return lambda requests: distribution(
        [value(item) or 0.0 for item in requests if item.output_tokens >= least]
    )


def _per_token(value: Callable[[Request], float | None], without: int) -> Summed:
    """Weighted by the output tokens less `without`, of requests where that leaves any."""

    def summed(requests: Sequence[Request]) -> dict[str, Any]:
        counted = [item for item in requests if item.output_tokens > without]
        return distribution(
            [value(item) or 0.0 for item in counted], [item.output_tokens - without for item in counted]
        )

    return summed


def _tokens_per_second(at_first: Callable[[Request], int]) -> Summed:
    def summed(requests: Sequence[Request]) -> dict[str, Any]:
        counted = [item for item in requests if item.output_tokens > 0]
        return token_rate(
            [item.start for item in counted],
            [item.end for item in counted],
            [item.start if item.first is None else item.first for item in counted],
            [item.output_tokens for item in counted],
            [at_first(item) for item in counted],
        )

    return summed


METRICS: dict[str, Summed] = {
    "requests_per_second": lambda requests: request_rate(
        [item.start for item in requests], [item.end for item in requests]
    ),
    "request_concurrency": lambda requests: concurrency(
        [item.start for item in requests], [item.end for item in requests]
    ),
    "request_latency": _values(lambda item: item.latency_s),
    "prompt_token_count": lambda requests: distribution(
        [item.prompt_tokens for item in requests if item.prompt]
    ),
    "output_token_count": _values(lambda item: item.output_tokens, 1),
    "time_to_first_token_ms": _values(lambda item: item.ttft_ms, 1),
    "time_per_output_token_ms": _per_token(lambda item: item.tpot_ms, 0),
    "inter_token_latency_ms": _per_token(lambda item: item.itl_ms, 1),
    "output_tokens_per_second": _tokens_per_second(lambda _: 1),
    "tokens_per_second": _tokens_per_second(lambda item: item.prompt_tokens + 1),
}
"""Every metric of a benchmark, in the order of the file."""
OF_REQUESTS = (
    "request_latency",
    "prompt_token_count",
    "output_token_count",
    "time_to_first_token_ms",
    "time_per_output_token_ms",
    "inter_token_latency_ms",
)
"""Metrics of which there is no value without a request that has one; the others are rates over time, which may be 0."""
REPORTED = ("successful", "total")
"""Statuses whose figures people read."""


# ---- rows ----


def row(item: Request) -> dict[str, Any]:
    """One request as it stands in the file."""
    is_good = item.status == "successful"
    is_timed = item.first is not None and item.last is not None
    return {
        "type_": "generative_text_response" if is_good else "generative_text_error",
        "request_id": item.id,
        "request_type": item.type,
        "scheduler_info": _scheduler_info(item),
        "prompt": item.prompt,
        "output": item.output,
        "prompt_tokens": item.prompt_tokens,
        "output_tokens": item.output_tokens,
        "start_time": item.start,
        "end_time": item.end,
        "first_token_time": item.first,
        "last_token_time": item.last,
        **({} if is_good else {"error": item.error or ""}),
        "request_latency": item.latency_s,
        "time_to_first_token_ms": item.ttft_ms,
        "time_per_output_token_ms": item.tpot_ms,
        "inter_token_latency_ms": item.itl_ms,
        "tokens_per_second": item.per_second(item.prompt_tokens + item.output_tokens),
        "output_tokens_per_second": item.per_second(item.output_tokens) if is_timed else None,
    }


def _scheduler_info(item: Request) -> dict[str, Any]:
    return {
        "requested": True,
        "completed": item.status == "successful",
        "errored": item.status != "successful",
        "canceled": item.status == "incomplete",
        "targeted_start_time": item.targeted,
        "queued_time": item.targeted,
        "dequeued_time": item.start,
        "scheduled_time": item.start,
        "worker_start": item.start,
        "request_start": item.start,
        "request_end": item.end,
        "worker_end": item.end,
        "process_id": item.worker,
    }


def sampled(found: Mapping[str, Any], size: int | None) -> dict[str, Any]:
    """The benchmark with at most `size` drawn requests of each status; its metrics stay those of all."""
    if size is None:
        return dict(found)
    kept = {status: found["requests"][status] for status in STATUSES}
    drawn = {status: random.sample(rows, min(size, len(rows))) for status, rows in kept.items()}
    counts = {status: len(rows) for status, rows in drawn.items()}
    return {
        **found,
        "request_samples": {**counts, "total": None},
        "requests": {**drawn, "total": None},
    }
