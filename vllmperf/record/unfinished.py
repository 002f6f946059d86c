"""A run file whose run did not end by itself: what is there of it, and what is left to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import vllmperf._engine as _engine
from vllmperf.errors import SettingError
from vllmperf.record.reader import Header, header

HAS_ENDED = "outcome != 'incomplete'"
"""What was cut off when the run was interrupted is sent again."""


class Unfinished(NamedTuple):
    """done: which requests are recorded, a byte each (1: it is), by their numbers. at_ns: the last instant of the run, where it
    goes on: the time until then does not count. stopped_real_ns: the same by the clock, in ns since 1970. due_ns: where its
    schedule goes on. lost: what is known of the server's loss that the run waited for, if any.
    last_sent_ns: of a run that was asked to stop.
    """

    path: Path
    meta: Mapping[str, Any]
    done: bytes
    at_ns: int
    stopped_real_ns: int
    histograms: Mapping[str, _engine.Histogram]
    lost: Mapping[str, int] | None = None
    last_sent_ns: int | None = None

    @property
    def due_ns(self) -> int:
        """Before at_ns where the run waited in vain for answers of a lost server, and where it was asked to stop and let end
        what was in flight: what was due meanwhile is not sent at once."""
        if self.lost is not None:
            return min(self.lost["at_ns"], self.at_ns)
        return self.at_ns if self.last_sent_ns is None else min(self.last_sent_ns, self.at_ns)

    @property
    def n_done(self) -> int:
        return sum(self.done)

    def is_done(self, number: int) -> bool:
        return number < len(self.done) and bool(self.done[number])


def unfinished(path: Path | str, is_own: bool = False) -> Unfinished:
    """What can be resumed in this file. is_own: this process has paused the run. Raises SettingError for a run that is complete,
    still goes on, or was merged."""
    found = header(path)
    if not is_own:
        _check(found)
    with found.opened() as db:
        ended = f"FROM requests WHERE {HAS_ENDED}"
        last, at_ns = db.execute(f'SELECT max("index"), max(end_ns) {ended}').fetchone()
        done = bytearray(0 if last is None else last + 1)
        for (number,) in db.execute(f'SELECT "index" {ended}'):
            done[number] = 1
        at_ns = int(at_ns or 0)
        last_sent_ns = int(db.execute("SELECT max(sent_ns) FROM requests").fetchone()[0] or 0)
    counters = found.meta.get("counters") or {}
    start_real_ns = int(counters.get("start_real_ns") or 0)
    earlier_ns = sum(one["break_ns"] for one in found.meta.get("breaks", ()))
    return Unfinished(
        found.path,
        found.meta,
        bytes(done),
        at_ns,
        start_real_ns + at_ns + earlier_ns,
        found.histograms,
        counters.get("server_lost"),
        last_sent_ns if found.state == "interrupted" else None,
    )


def _check(found: Header) -> None:
    if found.state == "finished":
        raise SettingError("{resume} {path}: this run is complete, nothing is left to do", path=found.path)
    if found.state == "running":
        raise SettingError(
            "{resume} {path}: this run still goes on: wait until it has ended", path=found.path
        )
    if "parts" in found.meta:
        raise SettingError(
            "{resume} {path}: this file was merged from several: resume one of those", path=found.path
        )
