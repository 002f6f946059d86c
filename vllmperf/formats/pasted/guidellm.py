"""The console tables of guidellm 0.2 and 0.3: "Benchmarks Info" and "Benchmarks Stats", broken at 80 columns in most logs.

Lines of such a table are joined before they are read: a row's cells are those between its bars, whatever line they are on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from vllmperf.formats.pasted.table import Printed, Table, printed

INFO, STATS = "Benchmarks Info:", "Benchmarks Stats:"
INFO_CELLS = (
    *("start", "end", "duration", "completed", "incomplete", "errors"),
    *(
        "prompt_each",
        "prompt_each_inc",
        "prompt_each_err",
        "output_each",
        "output_each_inc",
        "output_each_err",
    ),
    *("prompt", "prompt_inc", "prompt_err", "output", "output_inc", "output_err"),
)
STATS_CELLS = (
    *("requests_per_s", "concurrency", "output_per_s", "total_per_s"),
    *(
        f"{metric}.{word}"
        for metric in ("e2el_ms", "ttft_ms", "itl_ms", "tpot_ms")
        for word in ("mean", "p50", "p99")
    ),
)
FIGURES = {
    "requests_per_s": "throughput.requests_per_s",
    "concurrency": "in_flight.mean",
    "output_per_s": "throughput.output_tokens_per_s",
    "total_per_s": "throughput.total_tokens_per_s",
    "duration": "duration_s",
    "completed": "requests.completed",
    "prompt": "tokens.prompt",
    "output": "tokens.output",
}
COUNTS = ("completed", "prompt", "output")
IN_SECONDS = "the request latency is printed under “(ms)” and is in seconds, as guidellm 0.2 writes it: it is read as seconds"

HEAD_LINES = 8


def find(lines: Sequence[str]) -> Iterator[Table]:
    starts = [number for number, line in enumerate(lines) if line.strip() == STATS]
    for start in starts:
        info = max((n for n in range(start) if lines[n].strip() == INFO), default=None)
        stats = _cells(lines[start + 1 :], STATS_CELLS)
        about = {} if info is None else _cells(lines[info + 1 : start], INFO_CELLS)
        for name, cells in stats.items():
            is_mislabelled = not any("(sec)" in line for line in lines[start + 1 : start + HEAD_LINES])
            remarks = (IN_SECONDS,) if is_mislabelled else ()
            yield _table(start + 1, name, cells, about.get(name, {}), remarks)


def _cells(lines: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Printed]]:
    """The rows below the head by the name of their benchmark."""
    found = {}
    for name, *cells in _rows(_below_rule(lines), len(names)):
        values = [printed("".join(cell.split())) for cell in cells]
        found[name] = {key: one for key, one in zip(names, values, strict=True) if one}
    return found


def _rows(lines: Iterator[str], n_bars: int) -> Iterator[list[str]]:
    """The cells of each row: it goes on until it has its bars, and something behind the last."""
    row = ""
    for line in lines:
        row += line
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) > n_bars and cells[n_bars]:
            if len(cells) == n_bars + 1:
                yield cells
            row = ""


def _below_rule(lines: Sequence[str]) -> Iterator[str]:
    """Lines behind the rule of dashes and bars, up to the line of =. A broken line of 80 columns lost its blanks at the end."""
    at = next((n for n, line in enumerate(lines) if re.match(r"^-+\|", line)), len(lines))
    while at < len(lines) and set(lines[at].strip()) <= set("-|"):
        at += 1
    yield from takewhile(lambda line: not line.startswith("=") and line.strip(), lines[at:])


def _table(
    line: int, name: str, stats: dict[str, Printed], info: dict[str, Printed], remarks: Sequence[str]
) -> Table:
    merged = {**info, **stats}
    figures = {
        ours: Printed(merged[theirs].value, 0.0 if theirs in COUNTS else merged[theirs].half)
        for theirs, ours in FIGURES.items()
        if theirs in merged
    }
    if left := [merged[name].value for name in ("incomplete", "errors") if name in merged]:
        figures["requests.not_completed"] = Printed(sum(left), 0.0)
    rows: dict[str, dict[str, Printed]] = {}
    for key, number in stats.items():
        metric, dot, word = key.partition(".")
        if dot:
            rows.setdefault(metric, {})[word] = number * 1000.0 if metric == "e2el_ms" else number
    plan: dict[str, object] = {"strategy": name}
    if name == "synchronous":
        plan["max_concurrency"] = 1
    return Table(line, "guidellm", figures, rows, plan, remarks)
