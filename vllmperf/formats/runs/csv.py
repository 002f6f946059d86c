"""One row a request, for spreadsheets and scripts."""

from __future__ import annotations

from pathlib import Path

from vllmperf.run import Run


def write(run: Run, path: Path) -> None:
    from vllmperf.report import csv

    run.recording  # noqa: B018 raises where there are no requests
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.write(run, file)
