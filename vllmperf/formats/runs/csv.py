"""One row a request, for spreadsheets and scripts."""

from __future__ import annotations

from pathlib import Path

from vllmperf.run import Run
from vllmperf.whole_file import write_whole


def write(run: Run, path: Path) -> None:
    from vllmperf.report import csv

    run.recording  # noqa: B018 raises where there are no requests
    write_whole(path, lambda file: csv.write(run, file))
