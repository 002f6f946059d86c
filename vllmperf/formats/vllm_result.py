"""The result JSON of `vllm bench serve --save-result`: keys, units and file name of vLLM 0.33.0.

The numbers follow our definitions (profile "vllmperf", which the file says). Where vLLM writes 0 for what was
not measured, so does this, because readers of its files count on numbers.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.errors import SettingError, UsageError
from vllmperf.formats.vllm_file import fitting
from vllmperf.metrics.definitions import FIGURES, METRICS
from vllmperf.paths import free
from vllmperf.record.reader import Recording
from vllmperf.run import Run

GOODPUT = "request_goodput"
TOTALS = (
    *("duration", "completed", "failed", "total_input_tokens", "total_output_tokens"),
    *("request_throughput", GOODPUT, "output_throughput", "total_token_throughput"),
)
"""The figures before the arrays, in vLLM's order; the others stand behind them."""
DEFAULT_METRICS = ("ttft", "tpot", "itl")
DEFAULT_PERCENTILES = (99.0,)
NS = 1e9

Floats = NDArray[np.float64]


def save(
    run: Run, folder: Path | None, name: str | None, *, detailed: bool = False, is_new: bool = False
) -> Path:
    """Write the file and give its path; the folder is made. is_new: beside a file of that name, not over it as vLLM does. Raises
    UsageError when it cannot be written."""
    now = datetime.now()
    found = result(run, now, detailed=detailed)
    path = (folder or Path()) / (name or file_name(run.recording.plan, now))
    path = free(path) if is_new else path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write the result {path}: {error.strerror}; choose another --result-dir"
        ) from None
    return path


def file_name(plan: Mapping[str, Any], now: datetime) -> str:
    """{label or backend}-{rate}qps[-concurrency{N}]-{model}-{date}.json"""
    cap = f"-concurrency{plan['max_concurrency']}" if plan.get("max_concurrency") else ""
    model = PurePosixPath(str(plan.get("model") or "")).name
    start = str(plan.get("label") or plan["backend"]).replace("/", "_")
    return fitting(f"{start}-{plan['request_rate']}qps{cap}-{model}", f"-{_date(now)}.json")


def result(
    run: Run, now: datetime, *, detailed: bool = False, metrics: Sequence[str] | None = None
) -> dict[str, Any]:
    """The object that is written. detailed: with one entry a request for lengths, times, texts and errors. metrics: those that
    get statistics, by our names; None = those of the plan, else vLLM's own choice."""
    recording = run.recording
    asked = recording.plan.get("metric_percentiles") or DEFAULT_PERCENTILES
    summary = run.untrimmed.summarize([50.0, *asked])  # readers divide its counts by its duration
    figures = _figures(summary)
    return {
        **_settings(recording, now),
        **{key: figures.pop(key) for key in TOTALS},
        **_arrays(recording, detailed),
        **figures,
        "rtfx": 0.0,
        **_statistics(summary, metrics or recording.plan.get("percentile_metrics") or DEFAULT_METRICS, asked),
        "profile": summary["profile"],
        "tool": summary["tool"],
    }


def _date(now: datetime) -> str:
    return now.strftime("%Y%m%d-%H%M%S")


def _settings(recording: Recording, now: datetime) -> dict[str, Any]:
    plan = recording.plan
    return {
        "date": _date(now),
        "endpoint_type": plan["backend"],
        "backend": plan["backend"],
        "label": plan.get("label"),
        "model_id": plan.get("model"),
        "tokenizer_id": plan.get("tokenizer") or plan.get("model"),
        "num_prompts": plan.get("num_prompts") or len(recording.requests),
        **(plan.get("metadata") or {}),
        "request_rate": plan["request_rate"],
        "burstiness": plan["burstiness"],
        "max_concurrency": plan.get("max_concurrency"),
    }


def _figures(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """By vLLM's keys; 0 for what was not measured, None for a goodput that nobody asked for."""
    found = {figure.vllm: figure.of(summary) for figure in FIGURES if figure.vllm}
    is_asked = summary["goodput"] is not None
    return {
        key: 0.0 if value is None and (key != GOODPUT or is_asked) else value for key, value in found.items()
    }


def _statistics(
    summary: Mapping[str, Any], metrics: Sequence[str], percentiles: Sequence[float]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric in METRICS:
        if not metric.vllm or metric.name not in metrics:
            continue
        row = summary["metrics"][metric.key] or {}
        for ours, theirs in (("mean", "mean"), ("p50", "median"), ("std", "std")):
            found[f"{theirs}_{metric.key}"] = row.get(ours, 0.0)
        found |= {f"p{p:g}_{metric.key}": row.get(f"p{p:g}", 0.0) for p in percentiles}
    return found


# ---- one entry a request ----


def _arrays(recording: Recording, detailed: bool) -> dict[str, Any]:
    """Latencies and queue times stand in every file, as in vLLM's; the rest only when asked for."""
    requests = recording.requests
    sent = requests["sent_ns"]
    brief = {
        "latencies": _seconds(sent, requests["last_token_ns"]).tolist(),
        "queue_times": _known(requests["slot_wait_ns"], 1 / NS).tolist(),
    }
    if not detailed:
        return brief
    if recording.keep_gaps != "all":
        raise SettingError(
            "{save_detailed} writes the gaps of every request: make the run with {keep_gaps} all"
        )
    start_s = int(recording.counters.get("start_mono_ns") or 0) / NS
    return {
        "input_lens": _known(requests["prompt_tokens"]).astype(np.int64).tolist(),
        "output_lens": _known(requests["output_tokens"]).astype(np.int64).tolist(),
        "ttfts": _seconds(sent, requests["first_token_ns"]).tolist(),
        "itls": _gaps_s(recording),
        "latencies": brief["latencies"],
        "start_times": (start_s + _known(sent, 1 / NS)).tolist(),
        "queue_times": brief["queue_times"],
        "generated_texts": [(text or "").split("\0")[0] for text in recording.texts],
        "errors": [error or "" for error in recording.errors],
    }


def _known(column: NDArray[np.int64], scale: float = 1.0) -> Floats:
    """The values times scale, 0 for what did not happen."""
    return np.where(column == _engine.NONE, 0, column) * scale


def _seconds(earlier: NDArray[np.int64], later: NDArray[np.int64]) -> Floats:
    happened = (earlier != _engine.NONE) & (later != _engine.NONE)
    return np.where(happened, later - earlier, 0) / NS


def _gaps_s(recording: Recording) -> list[list[float]]:
    offsets = recording.gap_request.tolist()
    gaps_s = (recording.gaps_ns.astype(np.float64) / NS).tolist()
    return [gaps_s[a:b] for a, b in itertools.pairwise(offsets)]
