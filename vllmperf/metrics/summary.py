"""The summary of a run: the one object that --json, Run.summary, the service and the tests use."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, cast

import numpy as np

import vllmperf._engine as _engine
from vllmperf.metrics import ci95, identity, precise, statistics
from vllmperf.metrics.answers import answers
from vllmperf.metrics.by_target import by_target
from vllmperf.metrics.definitions import FIGURES, METRICS
from vllmperf.metrics.drift import still_faster
from vllmperf.metrics.ending import Ending, ending
from vllmperf.metrics.entry import Metric
from vllmperf.metrics.failures import failures
from vllmperf.metrics.goodput import Goodput, goodput
from vllmperf.metrics.growth import growth
from vllmperf.metrics.power import Power, power
from vllmperf.metrics.prefix_cache import PrefixCache, prefix_cache
from vllmperf.metrics.rolling import intervals
from vllmperf.metrics.server_side import server_side
from vllmperf.metrics.server_times import ServerTimes, server_times
from vllmperf.metrics.sessions import Sessions, sessions
from vllmperf.metrics.statistics import Row, describe, describe_histogram, percentile_list
from vllmperf.metrics.threads import by_thread
from vllmperf.metrics.trend import Trend, trends
from vllmperf.metrics.trim import TrimDict, described, view
from vllmperf.metrics.verdict import Verdict, verdict
from vllmperf.metrics.view import Completed, happened
from vllmperf.record.gap_sample import ITL
from vllmperf.record.reader import Recording

SUMMARY_SCHEMA = 1
PROFILE = "vllmperf"

Part = dict[str, Any]


class Requests(TypedDict):
    asked: int | None
    sent: int
    completed: int
    not_completed: int
    outcomes: dict[str, int]
    samples: dict[str, str | None]
    failures: list[Mapping[str, object]]


class Tokens(TypedDict):
    """source: of all output counts, or "mixed"; sources: requests by source."""

    prompt: int | None
    cached: int | None
    output: int | None
    per_chunk: float | None
    source: str | None
    sources: dict[str, int]


class Speculative(TypedDict):
    """None where the server does not tell."""

    draft_tokens: float | None
    accepted_tokens: float | None
    acceptance: float | None
    tokens_per_step: float | None


class Throughput(TypedDict):
    """docs/metrics.md has each definition."""

    requests_per_s: float | None
    output_tokens_per_s: float | None
    total_tokens_per_s: float | None
    peak_output_tokens_per_s: float | None
    scheduled_per_s: float | None
    sent_per_s: float | None
    ci95: dict[str, list[float] | None]


class InFlight(TypedDict):
    asked: int | None
    mean: float | None
    max: int
    mean_sending: float | None


class Gaps(TypedDict):
    """How the ITL percentiles were come by. kept: of which requests the run file has gaps ("all", "sample", "none"), None where
    there is no run file. requests: how many of those that count have some."""

    kept: str | None
    requests: int
    n: int
    shared: int
    shared_share: float | None
    percentiles: str | None


class Client(TypedDict):
    """The client's own error and cost."""

    schedule_lag_ms: Row | None
    client_lag_ms: Row | None
    loop_ms: Row | None
    coalesced_share: float | None
    connect_ms: Row | None
    connections_opened: int
    connections_ahead: int
    silent_retries: int
    lost_results: int | None
    cpu_s: float | None
    threads: int | None
    by_thread: list[dict[str, Any]] | None
    machine_adds: Mapping[str, object] | None


class Summary(TypedDict):
    """Keys never change their meaning, new ones may come; what was not measured is None."""

    schema: int
    tool: Mapping[str, object] | None
    profile: str
    started_at: str | None
    duration_s: float | None
    plan: Mapping[str, object]
    environment: Mapping[str, object]
    state: str
    ending: Ending | None
    breaks: list[Mapping[str, object]]
    open_loop: bool
    requests: Requests
    tokens: Tokens
    throughput: Throughput
    in_flight: InFlight
    metrics: dict[str, Row | None]
    gaps: Gaps
    answers: Mapping[str, Mapping[str, object] | None]
    goodput: Goodput | None
    client: Client
    machine: Mapping[str, Any] | None
    server: Mapping[str, Any] | None
    server_times: ServerTimes | None
    prefix_cache: PrefixCache | None
    speculative: Speculative
    growth: Mapping[str, Any] | None
    still_faster: Mapping[str, Any] | None
    identities: Mapping[str, Mapping[str, object]]
    trim: TrimDict | None
    intervals: list[dict[str, Any]] | None
    targets: list[dict[str, Any]] | None
    sessions: Sessions | None
    until: Mapping[str, Any] | None
    power: Power | None
    drift: list[Trend] | None
    verdict: Verdict


def summarize(recording: Recording, percentiles: Iterable[float] | None = None, trim: bool = True) -> Summary:
    """The summary of a recorded run as plain Python values that json.dumps takes.

    percentiles: more of them (0 to 100) beside the defaults and those of the plan.
    Throughput and metrics are of completed requests, outcomes and in-flight of all. Unmeasured is None.
    trim: leave out the warm-up and the drain (vllmperf.metrics.trim); outcomes and sums are of the whole run in any case.
    """
    return summary_of(view(recording, trim), percentiles)


def summary_of(done: Completed, percentiles: Iterable[float] | None = None) -> Summary:
    """The same of what counts of a recording."""
    recording, whole = done.recording, done.whole
    server = server_side(whole)
    more = (recording.plan.get("metric_percentiles"), precise.percentiles(recording.plan))
    asked_percentiles = percentile_list(percentiles, *more)
    summary: Part = {
        "schema": SUMMARY_SCHEMA,
        "tool": recording.meta.get("tool"),
        "profile": PROFILE,
        "started_at": recording.meta.get("started_at"),
        "duration_s": None,
        "plan": recording.plan,
        "environment": recording.environment,
        "state": recording.state,
        "ending": ending(recording.plan, recording.counters),
        "breaks": recording.meta.get("breaks", []),
        "open_loop": done.is_open_loop,
        "requests": _requests(recording),
        "tokens": _tokens(whole),
        "throughput": {},
        "in_flight": {"asked": _asked_in_flight(recording.plan)},
        "metrics": {metric.key: _metric(metric, done, asked_percentiles) for metric in METRICS},
        "gaps": _gaps(done),
        "answers": answers(whole),
        "client": _client(recording, asked_percentiles),
        "machine": recording.counters.get("machine"),
        "server": server,
        "prefix_cache": prefix_cache(whole, server),
        "server_times": server_times(done),
        "speculative": {},
        "growth": _growth(whole),
        "still_faster": still_faster(done),
        "identities": _identities(whole),
        "trim": described(whole, done.trim),
        "intervals": intervals(recording),
        "targets": by_target(done),
        "sessions": sessions(done),
    }
    _place_figures(summary, done)
    summary["client"]["machine_adds"] = _machine_adds(recording.environment, summary["in_flight"]["mean"])
    summary["throughput"]["ci95"] = ci95.of_throughput(done, summary["throughput"])
    summary["goodput"] = goodput(done)
    if good := summary["goodput"]:
        good["ci95"] = ci95.of_goodput(done, good["objectives_ms"], good["requests_per_s"])
    summary["until"] = precise.take(summary, recording.plan, recording.counters.get("until") or {})
    summary["power"] = power(
        recording, summary["requests"]["completed"], summary["tokens"], summary["duration_s"]
    )
    summary["drift"] = trends(done)
    summary["verdict"] = verdict(summary)
    return cast(Summary, summary)


def _asked_in_flight(plan: Mapping[str, Any]) -> int | None:
    """Of conversations nobody asks for a level: sessions may be thinking."""
    return None if plan.get("sessions") else plan.get("max_concurrency")


def _metric(metric: Metric, done: Completed, percentiles: Sequence[float]) -> Row | None:
    if metric.name == "itl" and done.recording.keep_gaps == "none":
        return _itl_by_histogram(done, percentiles)
    return ci95.add(describe(metric.values(done), percentiles), metric, done, percentiles)


def _itl_by_histogram(done: Completed, percentiles: Sequence[float]) -> Row | None:
    """Of all gaps of the run, the warm-up included: the run file has no others."""
    row = describe_histogram(done.recording.histograms.get(ITL), percentiles)
    return row and {**row, "ci95": None, "ci95_needs": {}}


def _place_figures(summary: Part, done: Completed) -> None:
    for figure in FIGURES:
        if figure.compute is not None:
            part = summary
            for key in figure.path[:-1]:
                part = part[key]
            part[figure.path[-1]] = figure.compute(done)


def _requests(recording: Recording) -> Part:
    counts = np.bincount(recording.requests["outcome"], minlength=len(_engine.OUTCOMES)).tolist()
    outcomes = {name: count for name, count in zip(_engine.OUTCOMES, counts, strict=True) if count}
    return {
        "asked": recording.plan.get("num_prompts"),
        "sent": len(happened(recording, "sent_ns")),
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


def _tokens(done: Completed) -> Part:
    counts = np.bincount(done.requests["tokens_source"], minlength=len(_engine.TOKENS_SOURCES)).tolist()
    sources = {name: count for name, count in zip(_engine.TOKENS_SOURCES, counts, strict=True) if count}
    source = None if not sources else next(iter(sources)) if len(sources) == 1 else "mixed"
    return {"source": source, "sources": sources}


def _gaps(done: Completed) -> Part:
    """How the ITL percentiles were come by."""
    n, kept = done.n_gaps, done.recording.keep_gaps
    shared, shared_share = done.n_shared, done.shared_share
    if kept == "none" and (histogram := done.recording.histograms.get(ITL)) and histogram.count:
        # chunks that shared a read: one a gap, but for the first chunks of answers
        n, shared = histogram.count, int(done.whole.requests["coalesced"].sum(dtype=np.int64))
        shared_share = min(shared / n, 1.0)
    return {
        "kept": kept,
        "requests": int((done.requests["n_gaps"] > 0).sum()),
        "n": n,
        "shared": shared,
        "shared_share": shared_share,
        "percentiles": None
        if n == 0
        else statistics.OF_THE_WHOLE_RUN
        if kept == "none"
        else "exact"
        if n <= statistics.EXACT_UP_TO
        else statistics.FROM_HISTOGRAM,
    }


def _client(recording: Recording, percentiles: Sequence[float]) -> Part:
    histograms, counters, requests = recording.histograms, recording.counters, recording.requests
    chunks = int(requests["chunks"].sum(dtype=np.int64))
    by_requests = len(happened(recording, "connected_ns"))
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
        "threads": counters.get("threads"),
        "by_thread": by_thread(histograms, percentiles),
    }


def _growth(done: Completed) -> Part | None:
    found = growth(done.recording.requests) if done.is_open_loop else None
    return None if found is None else found._asdict()


def _machine_adds(environment: Mapping[str, Any], in_flight: float | None) -> Part | None:
    """What the machine's selftest found at the nearest number of streams above this run's; None beyond them."""
    known = environment.get("selftest")
    if not known or in_flight is None:
        return None
    point = next((one for one in known["streams"] if one["streams"] >= in_flight), None)
    return point and {"at": known["at"], **{name: point[name] for name in ("streams", "ttft_ms", "itl_ms")}}


def _counter(counters: Mapping[str, Any], name: str, from_records: int) -> int:
    """The engine's count, which also knows of requests that left no record; the records' where it
    was not written."""
    return max(int(counters.get(name) or 0), from_records)


def _identities(done: Completed) -> Part:
    return {
        check.name: {name: value for name, value in check._asdict().items() if name != "name"}
        for check in identity.checks(done)
    }
