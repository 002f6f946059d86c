"""The summary as JSON, as `vllmperf bench --json` prints it."""

from __future__ import annotations

import json
from pathlib import Path

from vllmperf.data_file import File
from vllmperf.formats.foreign_run import ForeignRun
from vllmperf.run import Run
from vllmperf.whole_file import write_whole


def recognise(file: File) -> bool:
    return {"schema", "profile", "metrics", "verdict", "plan"} <= file.data.keys()


def read(file: File) -> list[Run]:
    return [ForeignRun(file.path, "a summary", file.data)]


def write(run: Run, path: Path) -> None:
    write_whole(path, json.dumps(run.to_dict(), indent=2, allow_nan=False) + "\n")
