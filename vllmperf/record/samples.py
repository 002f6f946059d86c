"""What was sampled beside a run: watts of GPUs, memory of the client. One row a value, in the time of the run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BEFORE_NS = -1
"""The time of what was sampled before the run began."""
CREATE = "CREATE TABLE IF NOT EXISTS samples(at_ns INTEGER, source TEXT, name TEXT, value REAL)"
INSERT = "INSERT INTO samples VALUES(?, ?, ?, ?)"

Sample = tuple[int, str, str, float]
"""at_ns, source ("gpu 0", "client"), name ("power_w", "rss_bytes"), value."""
Series = NDArray[np.float64]
"""Rows of (at_ns, value), in the order of time."""


def read_samples(db: sqlite3.Connection) -> dict[tuple[str, str], Series]:
    """By source and name; empty in files before version 7."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'samples'").fetchone() is None:
        return {}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for at_ns, source, name, value in db.execute(
        "SELECT at_ns, source, name, value FROM samples ORDER BY at_ns"
    ):
        found.setdefault((source, name), []).append((at_ns, value))
    return {key: np.array(rows, dtype=np.float64) for key, rows in found.items()}


def add_samples(path: Path, rows: Iterable[Sample]) -> None:
    """To the file of a run that is over. Raises sqlite3.Error."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute(CREATE)
        db.executemany(INSERT, rows)
        db.execute("COMMIT")


def in_run_ns(real_ns: float, meta: Mapping[str, Any]) -> int | None:
    """An instant since 1970 in the time of the run; None in a break of it, BEFORE_NS before it."""
    at_ns = real_ns - int((meta.get("counters") or {}).get("start_real_ns") or 0)
    if at_ns < 0:
        return BEFORE_NS
    for one in meta.get("breaks", ()):
        if at_ns <= one["at_ns"]:
            break
        if at_ns < one["at_ns"] + one["break_ns"]:
            return None
        at_ns -= one["break_ns"]
    return round(at_ns)
