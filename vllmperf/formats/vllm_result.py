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

from vllmperf import _engine
from vllmperf.errors import UsageError
from vllmperf.record.reader import Recording
from vllmperf.report.run import Run

METRICS = ("ttft", "tpot", "itl", "e2el")
DEFAULT_METRICS = ("ttft", "tpot", "itl")
DEFAULT_PERCENTILES = (99.0,)
NS = 1e9

Floats = NDArray[np.float64]


def save(run: Run, folder: Path | None, name: str | None, *, detailed: bool = False) -> Path:
    """Write the file and give its path; the folder is made. Raises UsageError when it cannot be written."""
    now = datetime.now()
    found = result(run, now, detailed=detailed)
    path = (folder or Path()) / (name or file_name(run.recording.plan, now))
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
    return f"{start}-{plan['request_rate']}qps{cap}-{model}-{_date(now)}.json"


def result(run: Run, now: datetime, *, detailed: bool = False) -> dict[str, Any]:
    """The object that is written. detailed: with one entry a request for lengths, times, texts and errors."""
    recording = run.recording
    asked = recording.plan.get("metric_percentiles") or DEFAULT_PERCENTILES
    summary = run.summarize([50.0, *asked])
    return {
        **_settings(recording, now),
        **_totals(summary),
        **_arrays(recording, detailed),
        "max_output_tokens_per_s": peak_tokens_per_s(recording),
        "max_concurrent_requests": summary["in_flight"]["max"],
        "rtfx": 0.0,
        **_statistics(summary, recording.plan.get("percentile_metrics") or DEFAULT_METRICS, asked),
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


def _totals(summary: Mapping[str, Any]) -> dict[str, Any]:
    requests, tokens, throughput = summary["requests"], summary["tokens"], summary["throughput"]
    goodput = summary["goodput"]
    return {
        "duration": summary["duration_s"] or 0.0,
        "completed": requests["completed"],
        "failed": sum(requests["outcomes"].values()) - requests["completed"],
        "total_input_tokens": tokens["prompt"] or 0,
        "total_output_tokens": tokens["output"] or 0,
        "request_throughput": throughput["requests_per_s"] or 0.0,
        "request_goodput": None if goodput is None else goodput["requests_per_s"] or 0.0,
        "output_throughput": throughput["output_tokens_per_s"] or 0.0,
        "total_token_throughput": throughput["total_tokens_per_s"] or 0.0,
    }


def _statistics(
    summary: Mapping[str, Any], metrics: Sequence[str], percentiles: Sequence[float]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in METRICS:
        if name not in metrics:
            continue
        row = summary["metrics"][f"{name}_ms"] or {}
        for ours, theirs in (("mean", "mean"), ("p50", "median"), ("std", "std")):
            found[f"{theirs}_{name}_ms"] = row.get(ours, 0.0)
        found |= {f"p{p:g}_{name}_ms": row.get(f"p{p:g}", 0.0) for p in percentiles}
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


def peak_tokens_per_s(recording: Recording) -> float:
    """Most output tokens of completed requests within one second, counted from the first request on.

    Tokens of a chunk are those that its gap names; the rest of the request's tokens is shared evenly by its
    other chunks. 0 for several choices a request: their gaps do not follow one another in time.
    """
    requests = recording.requests
    is_counted = (requests["outcome"] == _engine.OUTCOMES.index("completed")) & (
        requests["first_token_ns"] != _engine.NONE
    )
    if not is_counted.any() or requests["choices"][is_counted].max() > 1:
        return 0.0
    counts = np.diff(recording.gap_request)
    is_gap_counted = np.repeat(is_counted, counts)
    counts = counts[is_counted]
    first = requests["first_token_ns"][is_counted]
    times = _chunk_times_ns(first, recording.gaps_ns[is_gap_counted].astype(np.float64), counts)
    firsts, others = _chunk_tokens(
        requests["output_tokens"][is_counted], recording.gap_tokens[is_gap_counted], counts
    )
    sent = requests["sent_ns"][requests["sent_ns"] != _engine.NONE].min()
    seconds = ((np.concatenate([first, times]) - sent) // NS).astype(np.int64)
    return float(np.bincount(seconds, weights=np.concatenate([firsts, others])).max())


def _chunk_times_ns(first: NDArray[np.int64], gaps: Floats, counts: NDArray[np.int64]) -> Floats:
    """When each chunk but the first ones came."""
    elapsed = np.concatenate([[0.0], np.cumsum(gaps)])
    before = elapsed[np.cumsum(counts) - counts]
    times: Floats = np.repeat(first - before, counts) + elapsed[1:]
    return times


def _chunk_tokens(
    output: NDArray[np.int64], named: NDArray[np.uint16], counts: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Tokens of the first chunk of each request, and of all others."""
    owner = np.repeat(np.arange(len(counts)), counts)
    n = len(counts)
    known = np.bincount(owner, weights=named, minlength=n)
    unnamed = 1 + np.bincount(owner, weights=named == 0, minlength=n)
    share = np.where(output == _engine.NONE, 1.0, np.maximum(output - known, 0) / unnamed)
    return share, np.where(named == 0, share[owner], named)
