"""Fields by the names of SGLang's and vLLM's result files, one a line: `| mean_ttft_ms | 136.2 |`, or `mean_ttft_ms: 136.2`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from vllmperf.formats.pasted.table import Printed, Table, printed

FIELD = re.compile(r"^[\s|\"'*-]*([a-z][a-z0-9_.]+)[\"'*]*\s*[|:=]\s*[\"']?([^|\"',]+?)[\"',]*\s*\|?\s*$")
FIGURES = {
    "duration": "duration_s",
    "completed": "requests.completed",
    "total_input_tokens": "tokens.prompt",
    "total_output_tokens": "tokens.output",
    "request_throughput": "throughput.requests_per_s",
    "output_throughput": "throughput.output_tokens_per_s",
    "total_token_throughput": "throughput.total_tokens_per_s",
    "request_goodput": "goodput.requests_per_s",
    "concurrency": "in_flight.mean",
    "max_concurrent_requests": "in_flight.max",
}
METRIC = re.compile(r"(mean|median|std|p[\d.]+)_(ttft|tpot|itl|e2el|e2e_latency)_ms")
PLAN = ("max_concurrency", "request_rate", "num_prompts", "model_name", "min_output_len", "max_output_len")
COUNTS = ("requests.completed", "tokens.prompt", "tokens.output")
FEWEST = 5
"""Fewer known fields in a row are a text about them."""


def find(lines: Sequence[str]) -> Iterator[Table]:
    start, fields = 0, dict[str, str]()
    for number, line in enumerate([*lines, "", "", ""]):
        match = FIELD.match(line)
        if match:
            start = start if fields else number
            fields[match[1]] = match[2]
        elif fields and "|" not in line:
            if table := _table(start + 1, fields):
                yield table
            fields = {}


def _table(line: int, fields: dict[str, str]) -> Table | None:
    numbers = {name: number for name, text in fields.items() if (number := printed(text))}
    figures = {FIGURES[name]: number for name, number in numbers.items() if name in FIGURES}
    figures = {name: Printed(one.value, 0.0) if name in COUNTS else one for name, one in figures.items()}
    for name, rate in (("tokens.prompt", "input_throughput"), ("tokens.output", "output_throughput")):
        if name not in figures and {rate, "duration"} <= numbers.keys():
            figures[name] = _product(numbers[rate], numbers["duration"])
    rows: dict[str, dict[str, Printed]] = {}
    for name, number in numbers.items():
        if match := METRIC.fullmatch(name):
            metric = "e2el" if match[2].startswith("e2e") else match[2]
            rows.setdefault(f"{metric}_ms", {})["p50" if match[1] == "median" else match[1]] = number
    if len(figures) + sum(map(len, rows.values())) < FEWEST or "requests.completed" not in figures:
        return None
    plan = {
        name: numbers[name].value if name in numbers else fields[name]
        for name in PLAN
        if fields.get(name, "None") not in ("None", "null")
    }
    return Table(line, "sglang", figures, rows, plan)


def _product(a: Printed, b: Printed) -> Printed:
    return Printed(a.value * b.value, a.half * b.value + a.value * b.half)
