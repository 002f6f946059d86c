"""A report of guidellm: read from 0.2 to 0.8 (JSON, YAML), written as 0.3 with one benchmark (JSON)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vllmperf._engine as _engine
from vllmperf.data_file import File
from vllmperf.errors import UsageError
from vllmperf.formats import guidellm_file
from vllmperf.formats.foreign_run import ForeignRun, part, product, row, scaled, summary_of
from vllmperf.metrics.statistics import Row
from vllmperf.model.guidellm_means import is_report
from vllmperf.numbers import measured
from vllmperf.run import Run
from vllmperf.whole_file import write_whole

if TYPE_CHECKING:
    from vllmperf.formats.guidellm_report import Request
    from vllmperf.record.reader import Recording

NS = 1e9
METRICS = {
    "ttft_ms": ("time_to_first_token_ms", 1.0),
    "itl_ms": ("inter_token_latency_ms", 1.0),
    "e2el_ms": ("request_latency", 1000.0),
}
"""Ours, theirs, and what a value of theirs is in ms. Their TPOT counts the first token: it is none of ours."""
PERCENTILES = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p99_9": "p999"}


def recognise(file: File) -> bool:
    return is_report(file.data)


def read(file: File) -> list[Run]:
    """Raises UsageError for what is no benchmark."""
    for place, one in enumerate(file.data["benchmarks"], 1):
        if not isinstance(one, Mapping):
            raise UsageError(f"{file.path}: benchmark {place} is no object")
    return [_run(file.path, one) for one in file.data["benchmarks"]]


def _run(path: Path, one: Mapping[str, Any]) -> Run:
    metrics = part(one, "metrics")
    totals = part(metrics, "request_totals") or part(one, "request_totals")
    ttft = _block(metrics, "time_to_first_token_ms")
    completed = totals.get("successful", ttft.get("count"))
    duration = one.get("duration")
    prompt, output = (_block(metrics, f"{name}_token_count") for name in ("prompt", "output"))
    figures = {
        "requests.completed": completed,
        "requests.not_completed": sum(measured(totals.get(name)) or 0 for name in ("errored", "incomplete")),
        "duration_s": duration,
        "tokens.prompt": product(prompt.get("mean"), completed),
        "tokens.output": product(output.get("mean"), completed),
        "throughput.requests_per_s": _block(metrics, "requests_per_second").get("mean"),
        "throughput.output_tokens_per_s": _block(metrics, "output_tokens_per_second").get("mean"),
        "in_flight.mean": _block(metrics, "request_concurrency").get("mean"),
    }
    rows = {ours: _row(_block(metrics, theirs), scale) for ours, (theirs, scale) in METRICS.items()}
    return ForeignRun(path, "guidellm", summary_of("guidellm", figures, rows, _plan(one)))


def _block(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return part(part(metrics, name), "successful")


def _row(block: Mapping[str, Any], scale: float) -> Row | None:
    """Without samples guidellm writes zeros."""
    if not block or block.get("count") == 0 or block.get("mean") is None:
        return None
    percentiles = part(block, "percentiles")
    found = {ours: percentiles.get(theirs) for ours, theirs in PERCENTILES.items()}
    found |= {"std": block.get("std_dev"), "min": block.get("min"), "max": block.get("max")}
    found["p50"] = found["p50"] if found["p50"] is not None else block.get("median")
    values = {name: scaled(value, scale) for name, value in found.items() if value is not None}
    return row(block.get("count"), scaled(block["mean"], scale), **values)


def _plan(one: Mapping[str, Any]) -> dict[str, object]:
    strategy = part(part(one, "config") or part(one, "args"), "strategy")
    streams = 1 if strategy.get("type_") == "synchronous" else strategy.get("streams")
    return {"max_concurrency": streams, "request_rate": strategy.get("rate")}


# ---- writing ----


def write(run: Run, path: Path) -> None:
    from vllmperf.formats.guidellm_report import benchmark

    requests = [_request(run.recording, place) for place in _sent(run.recording)]
    times = {"start_time": min(one.start for one in requests), "end_time": max(one.end for one in requests)}
    report = {"benchmarks": [benchmark(_head(run), requests, requests, times)]}
    write_whole(path, guidellm_file.to_json(report))


def _sent(recording: Recording) -> list[int]:
    from vllmperf.errors import UsageError

    found = [place for place, sent in enumerate(recording.requests["sent_ns"]) if sent != _engine.NONE]
    if not found:
        raise UsageError(f"{recording.path}: no request was sent, so that there is no benchmark to write")
    return found


def _head(run: Run) -> dict[str, Any]:
    plan, run_id = run.recording.plan, str(uuid.uuid4())
    limit, rate = plan.get("max_concurrency"), float(plan.get("request_rate") or "inf")
    strategy: dict[str, Any] = {"type_": "throughput", "max_concurrency": None}
    if limit:
        strategy = {"type_": "concurrent", "streams": limit}
    elif rate != float("inf"):
        strategy = {"type_": "poisson", "rate": rate}
    return {
        "type_": "generative_benchmark",
        "id_": str(uuid.uuid4()),
        "run_id": run_id,
        "args": {"strategy_index": 0, "strategy": strategy},
        "worker": {"backend_model": plan.get("model")},
        "request_loader": {},
        "extras": {},
    }


def _request(recording: Recording, place: int) -> Request:
    from vllmperf.formats.guidellm_report import CUT, Request

    record = recording.requests[place]
    start_s = int(recording.counters.get("start_real_ns") or 0) / NS
    outcome = _engine.OUTCOMES[int(record["outcome"])]
    status = {"completed": "successful", "incomplete": "incomplete"}.get(outcome, "errored")

    def at(name: str) -> float | None:
        return None if record[name] == _engine.NONE else start_s + int(record[name]) / NS

    sent = at("sent_ns") or start_s
    return Request(
        id=str(int(record["index"])),
        type="text_completions",
        status=status,
        prompt="",
        output=(recording.texts[place] or "").split("\0")[0],
        prompt_tokens=_known(record["prompt_tokens"]),
        output_tokens=_known(record["output_tokens"]),
        targeted=at("scheduled_ns") or sent,
        start=sent,
        end=at("end_ns") or sent,
        first=at("first_token_ns"),
        last=at("last_token_ns"),
        error=None
        if status == "successful"
        else recording.errors[place] or (CUT if status == "incomplete" else outcome),
    )


def _known(value: int) -> int:
    return 0 if value == _engine.NONE else int(value)
