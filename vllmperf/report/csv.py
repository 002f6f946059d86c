"""One row a request, for spreadsheets and scripts: what was recorded, what was asked, the metrics of that request."""

import csv
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from vllmperf.metrics.definitions import METRICS
from vllmperf.metrics.requests import METRIC_COLUMNS, requests
from vllmperf.numbers import number
from vllmperf.run import Run

ROWS_AT_A_TIME = 4096
"""A row takes about 3 kB on its way to its text."""


def write(run: Run, file: TextIO) -> None:
    """Write a line with the run's figures and their intervals, the names of the columns, then all requests, sorted by their
    number; an empty cell is "did not happen"."""
    done, errors = run.done, run.recording.errors
    file.write(f"# 95 % intervals: {'; '.join(_figures(run.summary)) or '-'}\n")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(requests(done, slice(0)).dtype.names or ()), "error"])
    for first in range(0, len(errors), ROWS_AT_A_TIME):
        rows = slice(first, first + ROWS_AT_A_TIME)
        table = requests(done, rows)
        columns = [_cells(table[name].tolist(), name) for name in table.dtype.names or ()]
        writer.writerows(zip(*columns, errors[rows], strict=True))


def _figures(summary: Mapping[str, Any]) -> Iterator[str]:
    """requests_per_s 49.48 [42.73 59.02]; ttft_ms mean 20.08 [20.07 20.17], p50 20.06 [20.05 20.07], p99 20.47 [needs 670]"""
    for part in ("throughput", "goodput"):
        figures = summary[part] or {}
        yield from (f"{name} {_known(figures, name)}" for name in figures.get("ci95") or ())
    for metric in METRICS:
        row = summary["metrics"].get(metric.key)
        if row and metric.is_shown:
            yield f"{metric.key} {', '.join(f'{name} {_known(row, name)}' for name in row.get('ci95') or ())}"


def _known(figures: Mapping[str, Any], name: str) -> str:
    """A number and its interval; without one, how many requests would do."""
    bounds, needs = figures["ci95"][name], (figures.get("ci95_needs") or {}).get(name)
    told = " ".join(map(_plain, bounds)) if bounds else f"needs {needs}" if needs else "-"
    return f"{_plain(figures[name])} [{told}]"


def _plain(value: float | None) -> str:
    """In ASCII, without commas."""
    return "-" if value is None else number(value).replace(",", "")


def _cells(values: list[float | str], name: str) -> Iterator[float | str]:
    form = "{:.6f}" if name in METRIC_COLUMNS else "{:.0f}"
    for value in values:
        yield value if not isinstance(value, float) else "" if value != value else form.format(value)  # NaN
