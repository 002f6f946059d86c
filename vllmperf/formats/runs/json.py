"""The summary as JSON, as `vllmperf bench --json` prints it."""

from __future__ import annotations

import json
from pathlib import Path

from vllmperf.data_file import File
from vllmperf.errors import UsageError
from vllmperf.formats.foreign_run import ForeignRun
from vllmperf.metrics.summary import SUMMARY_SCHEMA
from vllmperf.run import Run
from vllmperf.whole_file import write_whole


def recognise(file: File) -> bool:
    return {"schema", "profile", "metrics", "verdict", "plan"} <= file.data.keys()


PARTS = (
    "plan",
    "requests",
    "tokens",
    "throughput",
    "in_flight",
    "metrics",
    "identities",
    "verdict",
    "client",
    "gaps",
)


def read(file: File) -> list[Run]:
    """Raises UsageError for a summary that somebody cut, or of a later version."""
    schema = file.data["schema"]
    if not isinstance(schema, int) or schema > SUMMARY_SCHEMA:
        raise UsageError(
            f"{file.path} is a summary of a later vllmperf (schema {schema}; this one reads up to {SUMMARY_SCHEMA})"
        )
    for name in PARTS:
        if not isinstance(file.data.get(name), dict):
            raise UsageError(f"{file.path} is no whole summary of vllmperf: {name} is missing or no object")
    return [ForeignRun(file.path, "a summary", file.data)]


def write(run: Run, path: Path) -> None:
    write_whole(path, json.dumps(run.to_dict(), indent=2, allow_nan=False) + "\n")
