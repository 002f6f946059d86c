"""Measured starts of servers for /metrics: files that `vllmperf startup --json FILE` wrote into the data folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from vllmperf.service.series import KEPT_STARTS, StartState

FOLDER = "starts"
"""Of the data folder."""


def newest(data: Path) -> list[StartState]:
    """The starts of the files changed last, newest first. A file that is something else is left out: it may be half written."""
    found = [(path, status) for path in (data / FOLDER).glob("*.json") if (status := _status(path))]
    found.sort(key=lambda each: -each[1][0])
    starts = [start for path, status in found[:KEPT_STARTS] for start in _starts(path, status)]
    starts.sort(key=lambda start: -(start.ended_at or 0.0))
    return starts[:KEPT_STARTS]


def _status(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4 * KEPT_STARTS)
def _starts(path: Path, status: tuple[int, int]) -> tuple[StartState, ...]:  # noqa: ARG001 a changed file is read again
    try:
        return tuple(_of_file(path.stem, json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def _of_file(stem: str, found: Mapping[str, Any]) -> Iterator[StartState]:
    for each in found["starts"]:
        log = each["log"] or {}
        yield StartState(
            name=f"{stem}/{each['name']}",
            model=log.get("model") or "",
            version=log.get("vllm_version") or "",
            is_reached=each["reached"],
            total_s=each["total_s"],
            ended_at=datetime.fromisoformat(each["end_utc"]).timestamp() if each["end_utc"] else None,
            phases=_critical(each["phases"]),
        )


def _critical(phases: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds by phase; a phase may have several spans."""
    found: dict[str, float] = {}
    for phase in phases:
        if phase["critical"] and phase["duration_s"] is not None:
            found[phase["name"]] = found.get(phase["name"], 0.0) + phase["duration_s"]
    return found
