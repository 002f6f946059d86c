"""The result JSON of `vllm bench serve --save-result`, of any version."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from vllmperf.comparison.figures import STATISTICS, figures_of_summary
from vllmperf.data_file import File
from vllmperf.errors import UsageError
from vllmperf.formats.foreign_run import ForeignRun, row, summary_of
from vllmperf.formats.vllm_entries import entries_of, half_digit
from vllmperf.metrics.definitions import FIGURES, METRICS
from vllmperf.numbers import measured
from vllmperf.plan.checks import shown
from vllmperf.run import Run
from vllmperf.whole_file import write_whole

SETTINGS = {
    "backend": "backend",
    "model": "model_id",
    "num_prompts": "num_prompts",
    "request_rate": "request_rate",
    "burstiness": "burstiness",
    "max_concurrency": "max_concurrency",
}
"""Of the plan, and vLLM's name."""
WORDS = {theirs: ours for ours, theirs in STATISTICS.items()}


def recognise(file: File) -> bool:
    return "duration" in file.data and "completed" in file.data


def read(file: File) -> list[Run]:
    """A run for each line where vLLM appended them (--append-result)."""
    return [run_of(file.path, data) for data in file.objects]


def run_of(path: Path, data: dict[str, Any]) -> Run:
    """The run of one result object."""
    for name in ("duration", "completed"):
        if _number(data.get(name)) is None:
            raise UsageError(f"{path}: {name} is no number but {shown(data.get(name))}")
    tool = str(data.get("profile") or "vllm")
    named = {
        name.rstrip(":"): value for name, value in data.items()
    }  # vLLM up to 0.8 wrote "request_goodput:"
    figures = {figure.name: _number(named.get(figure.vllm)) for figure in FIGURES if figure.vllm}
    metrics = {metric.key: _row(data, metric.key) for metric in METRICS}
    plan = {ours: data.get(theirs) for ours, theirs in SETTINGS.items()}
    summary = summary_of(tool, figures, metrics, plan, _started(data.get("date")))
    entries = entries_of(data, metrics)
    return ForeignRun(path, tool, summary, rounding=_rounding(summary) if entries else {}, entries=entries)


def _rounding(summary: Mapping[str, Any]) -> dict[str, float]:
    """Half the last digit of each time, by its path."""
    return {
        f"metrics.{key}.{name}": half_digit(value)
        for key, row in summary["metrics"].items()
        for name, value in (row or {}).items()
    }


def _number(value: object) -> float | int | None:
    """As it stands there, NaN too: check looks at it."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if measured(value) is not None or isinstance(value, float) else math.inf


def _row(data: dict[str, Any], key: str) -> dict[str, float] | None:
    """mean_ttft_ms, median_ttft_ms, p99_ttft_ms … of one metric. vLLM writes 0 for what was not measured."""
    found = {
        WORDS.get(name.removesuffix(f"_{key}"), name.removesuffix(f"_{key}")).replace(".", "_"): _number(
            value
        )
        for name, value in data.items()
        if name.endswith(f"_{key}") and "_" not in name.removesuffix(f"_{key}")
    }
    mean = found.pop("mean", None)
    found.pop("n", None)
    done = _number(data["completed"])
    n = int(done) if done is not None and math.isfinite(done) else None
    is_measured = mean or any(found.values())
    return row(n, mean if is_measured else None, **found)


def _started(date: object) -> str | None:
    try:
        return datetime.strptime(str(date), "%Y%m%d-%H%M%S").isoformat()
    except ValueError:
        return None


def write(run: Run, path: Path) -> None:
    write_whole(path, json.dumps(_object(run)))


def _object(run: Run) -> dict[str, Any]:
    from vllmperf.formats.vllm_result import result

    if run.has_requests:
        return result(run, datetime.now(), metrics=[metric.name for metric in METRICS if metric.vllm])
    settings = {theirs: run.summary["plan"].get(ours) for ours, theirs in SETTINGS.items()}
    return {**settings, **figures_of_summary(run.summary, "").values, "profile": run.summary["profile"]}
