"""Goes on writing the run file of a run that was broken off."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import vllmperf._engine as _engine
from vllmperf.errors import UsageError
from vllmperf.record import schema
from vllmperf.record.gap_sample import GapSample
from vllmperf.record.merging import SUMMED
from vllmperf.record.process import this_process
from vllmperf.record.shift import shifted
from vllmperf.record.unfinished import HAS_ENDED, Unfinished
from vllmperf.record.writer import PRAGMAS, Asked, RunWriter, iso_utc, put_meta


class ResumedWriter(RunWriter):
    """Adds the rest of a run to its file. Its instants go on where the run broke off, so that no figure counts the break;
    meta.breaks says when it was. Histograms and counters are added to those from before.

    Raises UsageError when the file cannot be written, RunFileError when writing fails later.
    """

    def __init__(self, before: Unfinished, secrets: Iterable[str] = (), asked: Asked | None = None) -> None:
        self._before = before
        db = _opened(before.path)
        self._prepare(before.path, secrets, asked, db, GapSample.of_file(db, before.meta))
        with self._transaction():
            schema.add_columns(self._db)
            for statement in (schema.FREE_RESERVE, *schema.reserve_statements()):
                self._db.execute(statement)
            self._db.execute(f"DELETE FROM requests WHERE NOT {HAS_ENDED}")
            self._put_meta(state="running", writer=this_process(), breaks=self._breaks(time.time_ns()))

    def append(self, batch: _engine.Batch) -> None:
        """Write and commit a batch as Engine.drain() gave it."""
        super().append(shifted(batch, self._before.at_ns))

    def _put_counters(self, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]) -> None:
        meta = self._before.meta
        earlier = meta.get("counters") or {}
        known = (name for name in SUMMED if name not in ("threads", "multis"))
        summed = {name: (earlier.get(name) or 0) + (counters.get(name) or 0) for name in known}
        start = {name: earlier.get(name) for name in ("start_real_ns", "start_mono_ns")}
        super()._put_counters({**counters, **summed, **start, "server": None}, self._added_up(histograms))
        if resumed := counters.get("start_real_ns"):
            self._put_meta(breaks=self._breaks(int(resumed)))

    def _breaks(self, resumed_real_ns: int) -> list[dict[str, Any]]:
        """Those from before and this one."""
        stopped = self._before.stopped_real_ns
        this = {
            "at_ns": self._before.at_ns,
            "break_ns": max(resumed_real_ns - stopped, 0),
            "stopped_at": iso_utc(stopped),
            "resumed_at": iso_utc(resumed_real_ns),
            "reason": "client" if self._before.lost is None else "server_lost",
            "not_sent": None if self._before.lost is None else self._before.lost["not_sent"],
        }
        return [*self._before.meta.get("breaks", ()), this]

    def _added_up(self, histograms: Mapping[str, _engine.Histogram]) -> dict[str, _engine.Histogram]:
        found: dict[str, _engine.Histogram] = {}
        for part in (self._before.histograms, histograms):
            for name, histogram in part.items():
                found.setdefault(name, _engine.Histogram()).merge(histogram)
        return found


def end(path: Path, state: str, gave_up: str | None = None) -> None:
    """The run that this process had paused is over: say so in its file."""
    db = _opened(path)
    with closing(db):
        db.execute("BEGIN IMMEDIATE")
        (text,) = db.execute("SELECT value FROM meta WHERE key = 'counters'").fetchone()
        db.execute(schema.FREE_RESERVE)
        counters = {**json.loads(text), "gave_up": gave_up}
        put_meta(db, {"counters": counters, "state": state, "finished_at": iso_utc(time.time_ns())})
        db.execute("COMMIT")


def _opened(path: Path) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise UsageError(f"cannot go on writing the run file {path}: {error}") from error
    return db
