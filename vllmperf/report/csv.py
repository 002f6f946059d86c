"""One row a request, for spreadsheets and scripts: what was recorded, what was asked, the metrics of that request."""

import csv
from collections.abc import Iterator
from typing import TextIO

from vllmperf.metrics.requests import METRIC_COLUMNS
from vllmperf.run import Run


def write(run: Run, file: TextIO) -> None:
    """Write all requests, sorted by their number; an empty cell is "did not happen"."""
    table = run.requests
    names = table.dtype.names or ()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*names, "error"])
    columns = [_cells(table[name].tolist(), name) for name in names]
    writer.writerows(zip(*columns, run.recording.errors, strict=True))


def _cells(values: list[float | str], name: str) -> Iterator[float | str]:
    form = "{:.6f}" if name in METRIC_COLUMNS else "{:.0f}"
    for value in values:
        yield value if not isinstance(value, float) else "" if value != value else form.format(value)  # NaN
