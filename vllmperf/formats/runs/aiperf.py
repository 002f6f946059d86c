"""The summary of aiperf (profile_export_aiperf.json, schema 1.0 to 1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllmperf.data_file import File
from vllmperf.formats.foreign_run import ForeignRun, row, summary_of
from vllmperf.metrics.statistics import Row
from vllmperf.run import Run

METRICS = {
    "time_to_first_token": "ttft_ms",
    "inter_token_latency": "tpot_ms",
    "request_latency": "e2el_ms",
}
"""Theirs, and ours. Their inter-token latency is one value a request, the time after the first token over the later tokens."""
MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}
PERCENTILES = ("p50", "p90", "p95", "p99")


def recognise(file: File) -> bool:
    latency = file.data.get("request_latency")
    return isinstance(latency, Mapping) and {"unit", "avg"} <= latency.keys()


def read(file: File) -> list[Run]:
    data = file.data
    completed = _number(data, "request_count")
    prompt, output = (_number(data, f"{kind}_sequence_length") for kind in ("input", "output"))
    figures = {
        "requests.completed": completed,
        "requests.not_completed": _number(data, "error_request_count"),
        "duration_s": _number(data, "benchmark_duration"),
        "tokens.prompt": None if prompt is None or completed is None else round(prompt * completed),
        "tokens.output": None if output is None or completed is None else round(output * completed),
        "throughput.requests_per_s": _number(data, "request_throughput"),
        "throughput.output_tokens_per_s": _number(data, "output_token_throughput"),
    }
    rows = {ours: _row(data.get(theirs)) for theirs, ours in METRICS.items()}
    return [ForeignRun(file.path, "aiperf", summary_of("aiperf", figures, rows, {}))]


def _number(data: Mapping[str, Any], name: str) -> float | None:
    found = data.get(name)
    value = found.get("avg") if isinstance(found, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _row(block: object) -> Row | None:
    if not isinstance(block, Mapping) or (scale := MS.get(str(block.get("unit")))) is None:
        return None
    mean = block.get("avg")
    found = {
        name: block[name] * scale
        for name in (*PERCENTILES, "std", "min", "max")
        if block.get(name) is not None
    }
    return row(block.get("count"), None if mean is None else mean * scale, **found)
