"""One row a request, for spreadsheets and scripts."""

from __future__ import annotations

from pathlib import Path

from vllmperf.run import Run


def write(run: Run, path: Path) -> None:
    from vllmperf.report import csv

    recording = run.recording
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.write(recording, file)
