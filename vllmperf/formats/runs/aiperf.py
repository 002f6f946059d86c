"""The summary of aiperf (profile_export_aiperf.json, schema 1.0 to 1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllmperf.data_file import File
from vllmperf.formats.foreign_run import ForeignRun, part, product, row, scaled, summary_of
from vllmperf.metrics.statistics import Row
from vllmperf.numbers import brief, measured, percent
from vllmperf.run import Run

METRICS = {
    "time_to_first_token": "ttft_ms",
    "inter_token_latency": "tpot_ms",
    "request_latency": "e2el_ms",
}
"""Theirs, and ours. Their inter-token latency is one value a request, the time after the first token over the later tokens."""
MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}
PERCENTILES = ("p50", "p90", "p95", "p99")
PHASE = {"max_concurrency": "concurrency", "request_rate": "rate", "num_prompts": "requests"}
"""Of our plan, and aiperf's name."""
USAGE = (
    ("input", "total_usage_prompt_tokens", "prompt tokens"),
    ("output", "total_usage_completion_tokens", "output tokens, tokens/s and the time per token"),
)
COUNTS_AGREE = 0.01


def recognise(file: File) -> bool:
    latency = file.data.get("request_latency")
    return isinstance(latency, Mapping) and {"unit", "avg"} <= latency.keys()


def read(file: File) -> list[Run]:
    data = file.data
    figures = {
        "requests.completed": _count(data, "request_count"),
        "requests.not_completed": _count(data, "error_request_count"),
        "duration_s": _number(data, "benchmark_duration"),
        "tokens.prompt": _tokens(data, "input"),
        "tokens.output": _tokens(data, "output"),
        "throughput.requests_per_s": _number(data, "request_throughput"),
        "throughput.output_tokens_per_s": _number(data, "output_token_throughput"),
        "throughput.total_tokens_per_s": _number(data, "total_token_throughput"),
        "goodput.requests_per_s": _number(data, "goodput"),
        "in_flight.mean": _number(data, "effective_concurrency"),
    }
    rows = {ours: _row(data.get(theirs)) for theirs, ours in METRICS.items()}
    started = data.get("start_time")
    summary = summary_of("aiperf", figures, rows, _plan(data), started if isinstance(started, str) else None)
    return [ForeignRun(file.path, "aiperf", summary, remarks=_remarks(data))]


def _number(data: Mapping[str, Any], name: str) -> float | None:
    """As it stands there, NaN too: check looks at it."""
    value = part(data, name).get("avg")
    return float(value) if isinstance(value, int | float) else None


def _count(data: Mapping[str, Any], name: str) -> float | int | None:
    return product(1, _number(data, name))


def _tokens(data: Mapping[str, Any], kind: str) -> float | int | None:
    """Of all requests, as aiperf counts them."""
    return product(_number(data, f"{kind}_sequence_length"), _number(data, "request_count"))


def _plan(data: Mapping[str, Any]) -> dict[str, object]:
    """Of the measured phase; empty where there is none, as before schema 1.4."""
    listed = part(data, "input_config").get("phases")
    phases = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    phase = next((one for one in phases if one.get("kind") == "profiling"), {})
    return {ours: phase.get(theirs) for ours, theirs in PHASE.items()}


def _remarks(data: Mapping[str, Any]) -> list[str]:
    """Where its tokenizer and the server's usage count other tokens."""
    return [
        f"{words} of this file are counted by its tokenizer, {brief(own, 6)} in all; the server's usage says {brief(said, 6)}: "
        f"what it computes from them is {percent(abs(own / said - 1))} off"
        for kind, name, words in USAGE
        if (own := _tokens(data, kind))
        and (said := measured(_number(data, name)))
        and abs(own / said - 1) > COUNTS_AGREE
    ]


def _row(block: object) -> Row | None:
    if not isinstance(block, Mapping) or (scale := MS.get(str(block.get("unit")))) is None:
        return None
    mean = block.get("avg")
    found = {
        name: scaled(block[name], scale)
        for name in (*PERCENTILES, "std", "min", "max")
        if block.get(name) is not None
    }
    return row(block.get("count"), None if mean is None else scaled(mean, scale), **found)
