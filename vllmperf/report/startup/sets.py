"""Which starts are held against which: sets by name, or an earlier measurement."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.errors import UsageError
from vllmperf.paths import shortest_name
from vllmperf.report.startup.json import SCHEMA
from vllmperf.starts.result import NS_PER_S, Failure, Phase, Start

BEFORE, NOW = "before", "now"


def grouped(starts: Sequence[Start], patterns: Sequence[tuple[str, str]]) -> list[Start]:
    """Starts with their sets: patterns are (set, shell pattern of a start's name or log's path), the first that fits
    counts. Raises UsageError for a pattern that no start fits."""
    for name, pattern in patterns:
        if not any(_fits(start, pattern) for start in starts):
            raise UsageError(
                f"--group {name}={pattern}: no start has such a name; there are {_names(starts)}"
            )
    return [replace(start, group=_group(start, patterns)) for start in starts]


def _group(start: Start, patterns: Sequence[tuple[str, str]]) -> str | None:
    return next((name for name, pattern in patterns if _fits(start, pattern)), start.group)


def _fits(start: Start, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (start.name, start.log_path) if name)


def distinct(starts: Sequence[Start]) -> list[Start]:
    """Starts of logs with one file name get as much of their paths as tells them apart: cold/server.log."""
    counts = Counter(start.name for start in starts)
    return [
        replace(start, name=_longer(start, starts)) if counts[start.name] > 1 else start for start in starts
    ]


def _longer(start: Start, starts: Sequence[Start]) -> str:
    others = [s for s in starts if s.name == start.name and s.log_path != start.log_path]
    if start.log_path is None or Path(start.log_path).name != start.name or not others:
        return start.name
    return shortest_name(Path(start.log_path), [Path(other.log_path or "") for other in others])


def _names(starts: Sequence[Start]) -> str:
    names = [start.name for start in starts]
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def against(earlier: Sequence[Start], starts: Sequence[Start]) -> list[Start]:
    """Both measurements as two sets. Sets within the earlier one are taken together."""
    before = [replace(start, group=BEFORE) for start in earlier]
    return [*before, *(replace(start, group=start.group or NOW) for start in starts)]


def read_json(path: Path) -> list[Start]:
    """The starts of a file that `vllmperf startup --json` printed: phases, totals, failures, without their logs.

    Raises UsageError when it cannot be read or is something else.
    """
    try:
        found = json.loads(text_file.read(path))
        if found["schema"] != SCHEMA:
            raise UsageError(
                f"{path} has schema {found['schema']!r}, this vllmperf reads {SCHEMA}: measure again"
            )
        return [_start(each) for each in found["starts"]]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is not what `vllmperf startup --json` prints") from None


def _start(found: Mapping[str, Any]) -> Start:
    origin = _instant(found["origin_utc"])
    base = origin or 0
    end = found["total_s"] if found["reached"] else None
    return Start(
        name=found["name"],
        origin=found["origin"],
        end=found["end"],
        origin_ns=base,
        end_ns=None if end is None else base + round(end * NS_PER_S),
        phases=tuple(_phase(each, base) for each in found["phases"]),
        group=found["group"],
        reached=found["reached"],
        failure=None if found["failure"] is None else Failure(**found["failure"]),
        restarts=found["restarts"],
        facts=found["facts"],
        evidence=tuple(found["evidence"]),
        notes=tuple(found["notes"]),
    )


def _instant(text: str | None) -> int | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    return int(at.timestamp()) * NS_PER_S + at.microsecond * 1000


def _phase(found: Mapping[str, Any], base: int) -> Phase:
    def instant(offset: float | None) -> int | None:
        return None if offset is None else base + round(offset * NS_PER_S)

    return Phase(
        found["name"],
        instant(found["start_s"]),
        instant(found["end_s"]),
        found["source"],
        found["resolution_s"],
        found["rank"],
        found["critical"],
        found["reported_s"],
        found["detail"],
    )
