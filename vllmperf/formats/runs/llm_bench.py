"""The summary CSV of fw-ai's llm_bench: a header when the file is new, one line a run."""

from __future__ import annotations

import csv
from pathlib import Path

from vllmperf.data_file import File
from vllmperf.errors import UsageError
from vllmperf.formats.foreign_run import ForeignRun, product, row, summary_of
from vllmperf.metrics.statistics import Row
from vllmperf.numbers import measured
from vllmperf.run import Run

COLUMNS = ("Provider", "Total Latency", "Num Requests", "Qps")
PERCENTILES = ("P50", "P90", "P95", "P99", "P99.9")
METRICS = {"Time To First Token": "ttft_ms", "Total Latency": "e2el_ms"}
"""llm_bench's Latency Per Token is the time after the first token over all tokens, the first included: no TPOT of ours."""


def recognise(file: File) -> bool:
    head = file.text.partition("\n")[0].split(",")
    return set(COLUMNS) <= set(head)


def read(file: File) -> list[Run]:
    """Raises UsageError for a line that ends before its figures. The header may come again, in files put together."""
    lines = csv.DictReader(file.text.splitlines())
    return [_run(file.path, line) for line in lines if not _is_header(file.path, lines.line_num, line)]


def _is_header(path: Path, number: int, line: dict[str, str]) -> bool:
    if line.get("Qps") is None:
        raise UsageError(f"{path}: line {number} is cut: it ends before its Qps")
    return line["Qps"] == "Qps"


def _run(path: Path, line: dict[str, str]) -> Run:
    completed = product(1, _number(line.get("Num Requests"))) or 0
    output, prompt = (_number(line.get(name)) for name in ("Num Tokens", "Prompt Tokens"))
    qps = _number(line.get("Qps"))
    figures = {
        "requests.completed": completed,
        "tokens.prompt": None if prompt is None else prompt * completed,
        "tokens.output": None if output is None else output * completed,
        "throughput.requests_per_s": qps,
        "throughput.output_tokens_per_s": None if qps is None or output is None else qps * output,
    }
    metrics = {ours: _row(line, theirs, completed) for theirs, ours in METRICS.items()}
    users = measured(_number(line.get("Concurrency")))
    plan = {"model": line.get("Model"), "max_concurrency": None if users is None else int(users)}
    return ForeignRun(path, "llm_bench", summary_of("llm_bench", figures, metrics, plan))


def _row(line: dict[str, str], name: str, count: float | int) -> Row | None:
    """Of a stream: without one the means are empty and the percentiles 0."""
    named = {p.lower().replace(".", "_"): _number(line.get(f"{p} {name}")) for p in PERCENTILES}
    return row(count, _number(line.get(name)), **named)


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def write(run: Run, path: Path) -> None:
    from vllmperf.formats.llm_bench_csv import append

    append(path, _figures(run))


def _figures(run: Run) -> dict[str, object]:
    summary = run.summary
    completed, plan = summary["requests"]["completed"], summary["plan"]
    metrics = {theirs: summary["metrics"][ours] or {} for theirs, ours in METRICS.items()}
    tpot = summary["metrics"]["tpot_ms"] or {}

    def each(tokens: int | None) -> float | None:
        return None if tokens is None or not completed else tokens / completed

    output = each(summary["tokens"]["output"])
    return {
        "Provider": "vllm",
        "Model": plan.get("model"),
        "Prompt Tokens": each(summary["tokens"]["prompt"]),
        "Generation Tokens": output,
        "Stream": plan.get("stream", True),
        "Temperature": None,
        "Logprobs": plan.get("logprobs"),
        "Concurrency": plan.get("max_concurrency"),
        "Time To First Token": metrics["Time To First Token"].get("mean"),
        "Latency Per Token": tpot.get("mean"),
        "Num Tokens": output,
        "Total Latency": metrics["Total Latency"].get("mean"),
        "Num Requests": completed,
        "Qps": summary["throughput"]["requests_per_s"],
        **{f"{p} {name}": row.get(p.lower()) for name, row in metrics.items() for p in PERCENTILES},
    }
