"""The summary of a run: the one object that --json, Run.summary, the service and the tests use."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllmperf import _engine
from vllmperf.metrics import identity, statistics
from vllmperf.metrics.answers import answers
from vllmperf.metrics.definitions import METRICS
from vllmperf.metrics.failures import failures
from vllmperf.metrics.goodput import goodput
from vllmperf.metrics.in_flight import InFlight, sweep
from vllmperf.metrics.statistics import describe, describe_histogram, percentile_list
from vllmperf.metrics.verdict import verdict
from vllmperf.metrics.view import Completed
from vllmperf.record.reader import Recording

SUMMARY_SCHEMA = 1
PROFILE = "vllmperf"

Part = dict[str, Any]
Ints = NDArray[np.int64]


def summarize(recording: Recording, percentiles: Iterable[float] | None = None) -> Part:
    """The summary of a recorded run as plain Python values that json.dumps takes.

    percentiles: more of them (0 to 100) beside the defaults and those of the plan.
    Throughput and metrics are of completed requests, outcomes and in-flight of all. Unmeasured is None.
    """
    done = Completed(recording)
    asked_percentiles = percentile_list(percentiles, recording.plan.get("metric_percentiles"))
    in_flight = sweep(recording.requests)
    window_s = _window_s(recording)
    summary: Part = {
        "schema": SUMMARY_SCHEMA,
        "tool": recording.meta.get("tool"),
        "profile": PROFILE,
        "started_at": recording.meta.get("started_at"),
        "duration_s": window_s,
        "plan": recording.plan,
        "environment": recording.environment,
        "state": recording.state,
        "open_loop": _is_open_loop(recording),
        "requests": _requests(recording),
        "tokens": _tokens(done),
    }
    summary["throughput"] = _throughput(summary, window_s)
    summary["in_flight"] = _in_flight(recording, in_flight)
    summary["metrics"] = {metric.key: describe(metric.samples(done), asked_percentiles) for metric in METRICS}
    summary["gaps"] = _gaps(done)
    summary["answers"] = answers(done)
    summary["goodput"] = goodput(done, summary["requests"]["sent"], window_s)
    summary["client"] = _client(recording, asked_percentiles)
    summary["identities"] = _identities(done, in_flight)
    summary["verdict"] = verdict(summary)
    return summary


def _happened(recording: Recording, name: str) -> Ints:
    column: Ints = recording.requests[name]
    happened: Ints = column[column != _engine.NONE]
    return happened


def _window_s(recording: Recording) -> float | None:
    """First sent to last end, of all requests: what throughput is divided by."""
    sent, end = _happened(recording, "sent_ns"), _happened(recording, "end_ns")
    if len(sent) == 0 or len(end) == 0 or end.max() <= sent.min():
        return None
    return float(end.max() - sent.min()) / 1e9


def _is_open_loop(recording: Recording) -> bool:
    return len(_happened(recording, "scheduled_ns")) > 0


def _requests(recording: Recording) -> Part:
    counts = np.bincount(recording.requests["outcome"], minlength=len(_engine.OUTCOMES)).tolist()
    outcomes = {name: count for name, count in zip(_engine.OUTCOMES, counts, strict=True) if count}
    return {
        "asked": recording.plan.get("num_prompts"),
        "sent": len(_happened(recording, "sent_ns")),
        "completed": outcomes.get("completed", 0),
        "outcomes": outcomes,
        "samples": _samples(recording, outcomes),
        "failures": failures(recording),
    }


def _samples(recording: Recording, outcomes: Iterable[str]) -> dict[str, str | None]:
    """The first error text of each outcome that is a failure, None when there was none."""
    numbers = recording.requests["outcome"]
    return {
        name: _sample(recording, np.flatnonzero(numbers == _engine.OUTCOMES.index(name)).tolist())
        for name in outcomes
        if name != "completed"
    }


def _sample(recording: Recording, rows: Sequence[int]) -> str | None:
    for row in rows:
        if error := recording.errors[row]:
            status = int(recording.requests["status"][row])
            return error if status in (0, 200) else f"HTTP {status}: {error}"
    return None


def _sum_known(column: Ints) -> int | None:
    column = column[column != _engine.NONE]
    return int(column.sum()) if len(column) else None


def _tokens(done: Completed) -> Part:
    """`source` is the one source of all output counts, or "mixed"; `sources` counts requests by source."""
    counts = np.bincount(done.requests["tokens_source"], minlength=len(_engine.TOKENS_SOURCES)).tolist()
    sources = {name: count for name, count in zip(_engine.TOKENS_SOURCES, counts, strict=True) if count}
    return {
        "prompt": _sum_known(done.requests["prompt_tokens"])
        or None,  # a server that counts 0 has not counted
        "cached": _sum_known(done.requests["cached_tokens"]),
        "output": _sum_known(done.requests["output_tokens"]),
        "source": None if not sources else next(iter(sources)) if len(sources) == 1 else "mixed",
        "sources": sources,
    }


def _per_s(count: float | None, window_s: float | None) -> float | None:
    return None if count is None or not window_s else count / window_s


def _throughput(summary: Part, window_s: float | None) -> Part:
    prompt, output = summary["tokens"]["prompt"], summary["tokens"]["output"]
    total = None if prompt is None or output is None else prompt + output
    return {
        "requests_per_s": _per_s(summary["requests"]["completed"], window_s),
        "output_tokens_per_s": _per_s(output, window_s),
        "total_tokens_per_s": _per_s(total, window_s),
    }


def _in_flight(recording: Recording, in_flight: InFlight) -> Part:
    return {
        "asked": recording.plan.get("max_concurrency"),
        "mean": in_flight.mean,
        "max": in_flight.max,
        "mean_sending": in_flight.mean_sending,
    }


def _gaps(done: Completed) -> Part:
    """How the ITL percentiles were come by."""
    n = len(done.gaps_ns)
    return {
        "n": n,
        "shared": int(done.gap_shared.sum()),
        "shared_share": done.shared_share,
        "percentiles": None
        if n == 0
        else "exact"
        if n <= statistics.EXACT_UP_TO
        else statistics.FROM_HISTOGRAM,
    }


def _client(recording: Recording, percentiles: Sequence[float]) -> Part:
    histograms, counters, requests = recording.histograms, recording.counters, recording.requests
    chunks = int(requests["chunks"].sum(dtype=np.int64))
    by_requests = len(_happened(recording, "connected_ns"))
    opened = _counter(counters, "connections_opened", by_requests)
    return {
        "schedule_lag_ms": describe_histogram(histograms.get("schedule_lag"), percentiles),
        "client_lag_ms": describe_histogram(histograms.get("client_lag"), percentiles),
        "loop_ms": describe_histogram(histograms.get("loop"), percentiles),
        "coalesced_share": int(requests["coalesced"].sum(dtype=np.int64)) / chunks if chunks else None,
        "connect_ms": describe_histogram(histograms.get("connect"), percentiles),
        "connections_opened": opened,
        "connections_ahead": opened - by_requests,
        "silent_retries": _counter(counters, "silent_retries", int(requests["retries"].sum(dtype=np.int64))),
        "lost_results": counters.get("lost"),
        "cpu_s": counters.get("cpu_s"),
    }


def _counter(counters: Mapping[str, Any], name: str, from_records: int) -> int:
    """The engine's count, which also knows of requests that left no record; the records' where it
    was not written."""
    return max(int(counters.get(name) or 0), from_records)


def _identities(done: Completed, in_flight: InFlight) -> Part:
    return {
        check.name: {name: value for name, value in asdict(check).items() if name != "name"}
        for check in identity.checks(done, in_flight)
    }
