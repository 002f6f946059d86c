"""The summary that fw-ai's llm_bench prints at its end: `Name : value` under a title."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from vllmperf.formats.pasted.table import Printed, Table, printed

TITLE = re.compile(r"^=+ Summary =+\s*$")
ROW = re.compile(r"^\s*([A-Z][\w. ]*?)\s*:\s*(\S.*?)\s*$")
METRICS = {"Time To First Token": "ttft_ms", "Total Latency": "e2el_ms"}
PERCENTILE = re.compile(r"P([\d.]+) (.+)")
DIGITS = 2
"""Locust, which it is built on, keeps percentiles with so many digits."""


def find(lines: Sequence[str]) -> Iterator[Table]:
    for start, line in enumerate(lines):
        if TITLE.match(line):
            yield _table(start + 1, dict(_rows(lines[start + 1 :])))


def _rows(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if line.startswith("==="):
            return
        if match := ROW.match(line):
            yield match[1], match[2]


def _table(line: int, fields: dict[str, str]) -> Table:
    numbers = {name: number for name, text in fields.items() if (number := printed(text))}
    completed = numbers.get("Num Requests", Printed(0.0, 0.0)).value
    figures = {"requests.completed": Printed(completed, 0.0)}
    for theirs, ours in (("Prompt Tokens", "tokens.prompt"), ("Num Tokens", "tokens.output")):
        if theirs in numbers:
            figures[ours] = numbers[theirs] * completed
    if "Qps" in numbers:
        figures["throughput.requests_per_s"] = numbers["Qps"]
    rows = {ours: _row(theirs, numbers) for theirs, ours in METRICS.items()}
    if per_token := numbers.get("Latency Per Token"):
        rows["tpot_ms"] = {"mean": per_token}
    plan = {"output_len": numbers["Generation Tokens"].value} if "Generation Tokens" in numbers else {}
    return Table(line, "llm_bench", figures, {name: row for name, row in rows.items() if row}, plan)


def _row(name: str, numbers: dict[str, Printed]) -> dict[str, Printed]:
    found = {"mean": numbers[name]} if name in numbers else {}
    for other, number in numbers.items():
        if (match := PERCENTILE.fullmatch(other)) and match[2] == name:
            found[f"p{match[1]}"] = Printed(number.value, _half(number.value))
    return found


def _half(value: float) -> float:
    """Of a number with DIGITS digits, and at least a whole ms."""
    return max(0.5, 0.5 * 10 ** (math.floor(math.log10(value)) + 1 - DIGITS)) if value > 0 else 0.5
