"""A consistent copy of a run file that somebody is writing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from vllmperf.errors import UsageError

BUSY_S = 5.0


def snapshot(run_file: Path, copy: Path) -> None:
    """Copy a SQLite file as it is at one moment; the copy is there whole or not at all. Raises UsageError."""
    beside = copy.with_name(f".{copy.name[:100]}.{os.getpid()}.part")
    beside.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{_quoted(run_file)}?mode=ro", uri=True, timeout=BUSY_S)) as source,
            closing(sqlite3.connect(beside)) as target,
        ):
            # In one step: each commit of the writer would let a copy in several steps begin anew. The writer waits meanwhile,
            # a tenth of a second for 100 MB; what the engine measures, and when it sends, does not depend on the writer.
            source.backup(target)
        beside.replace(copy)
    except (sqlite3.Error, OSError) as error:
        raise UsageError(f"{run_file} cannot be copied: {error}") from None
    finally:
        beside.unlink(missing_ok=True)


def recover(path: Path) -> None:
    """Bring a file whose writer was killed to the state of its last commit: SQLite does so when somebody reads it."""
    if not path.with_name(f"{path.name}-journal").exists():
        return
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=BUSY_S)) as db:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _quoted(path: Path) -> str:
    return "".join(f"%{ord(sign):02x}" if sign in "%?#" else sign for sign in str(path.absolute()))
