"""vllmperf's own run file, with every request."""

from __future__ import annotations

from pathlib import Path

from vllmperf.data_file import File
from vllmperf.run import Run, open_run


def recognise(file: File) -> bool:
    return file.is_database


def read(file: File) -> list[Run]:
    return [open_run(file.path)]


def write(run: Run, path: Path) -> None:
    run.recording  # noqa: B018 raises where there are no requests
    run.save(path)
