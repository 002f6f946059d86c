"""The folder of a sweep: what it is to measure, what happened, and a run file for each finished point.

    sweep.json                       the definition, set-ups and loads written out
    events.jsonl                     one JSON object for each thing that happened, oldest first
    round_robin--request_rate=4--1.vllmperf
    logs/round_robin_stdout.log      what the server of a set-up printed

A run file has its name when it is finished; until then .part stands behind it. So a folder may be read at any time, and a sweep
that was killed finds what it has.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vllmperf.errors import UsageError
from vllmperf.sweeps.definition import Definition, defined
from vllmperf.sweeps.points import SUFFIX, Point
from vllmperf.whole_file import write_whole

# History of sweep.json. A reader refuses a newer number than its own.
#   1  first version
SCHEMA = 1
DEFINITION, EVENTS, LOGS, PART = "sweep.json", "events.jsonl", "logs", ".part"
MAY_GROW = "repeat"


class Folder:
    """A folder that exists. Raises UsageError where it holds no sweep."""

    def __init__(self, path: Path) -> None:
        self.path, self.logs = path, path / LOGS
        self.definition = _read(path / DEFINITION)

    @classmethod
    def made(cls, path: Path, definition: Definition) -> Folder:
        """A new one, or the one that is there already with this sweep or fewer repeats of it. Raises UsageError."""
        file = path / DEFINITION
        if cls.of(path, definition) is None and path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path} is there and holds no sweep: choose another folder")
        path.mkdir(parents=True, exist_ok=True)
        data = {"schema": SCHEMA, **definition.to_dict()}
        write_whole(file, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
        return cls(path)

    @classmethod
    def of(cls, path: Path, definition: Definition) -> Folder | None:
        """The one that is there, as it is; None where there is none. Raises UsageError for one of another sweep."""
        if not (path / DEFINITION).exists():
            return None
        found = cls(path)
        _check_same(path, found.definition, definition)
        return found

    def run_file(self, point: Point) -> Path:
        return self.path / f"{point.name}{SUFFIX}"

    def part_file(self, point: Point) -> Path:
        """Where a point is written while it goes on. What a killed sweep left there goes."""
        path = self.path / f"{point.name}{SUFFIX}{PART}"
        for old in self.path.glob(f"{glob_of(path.name)}*"):
            old.unlink()
        return path

    def is_done(self, point: Point) -> bool:
        return self.run_file(point).exists()

    def note(self, event: str, **facts: object) -> None:
        """Add an event; it is on the disk when this returns."""
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
        with (self.path / EVENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> list[dict[str, Any]]:
        """All that happened, oldest first. The last line of a killed sweep may be half: it is left out."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.path / EVENTS).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """For one sweep at a time. Raises UsageError."""
        with (self.path / EVENTS).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(
                    f"a sweep writes to {self.path} now: wait for it, or choose another folder"
                ) from None
            yield


def glob_of(name: str) -> str:
    """A name as a pattern that it alone matches."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _read(path: Path) -> Definition:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        schema = data.pop("schema")
    except FileNotFoundError:
        raise UsageError(
            f"there is no sweep in {path.parent}: `vllmperf sweep FILE --output DIR` writes one"
        ) from None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if not isinstance(schema, int) or schema > SCHEMA:
        raise UsageError(f"{path} was written by a newer vllmperf: upgrade vllmperf to read it")
    return defined(data)


def _check_same(path: Path, there: Definition, asked: Definition) -> None:
    before, now = there.to_dict(), asked.to_dict()
    if changed := [name for name in now if now[name] != before[name] and name != MAY_GROW]:
        raise UsageError(
            f"{path} holds another sweep ({', '.join(changed)} differ): choose another folder, or the file as it was"
        )
    if asked.course.repeat < there.course.repeat:
        raise UsageError(
            f"{path} holds {there.course.repeat} repeats: ask for as many or more (got {asked.course.repeat})"
        )
