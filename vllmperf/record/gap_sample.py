"""Of which requests a run file keeps the gaps between tokens, its bulk: of all, of a bounded sample, of none.

The sample is uniform and follows from the requests' numbers alone. A number's place is its multiple of 2^32 / golden ratio,
modulo 2^32: places are spread evenly however many numbers there are, and whatever repeats among them. Requests whose place is
below the limit keep their gaps. The limit is 2^32 at first; when more than MOST requests have gaps, it is halved, and those above
it lose theirs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.record.fields import ASKED, BLOBS, FIELDS

MOST = 10_000
"""Requests of a sample whose gaps are kept."""
MULTIPLIER, PLACES = 2_654_435_769, 2**32
COMPLETED = _engine.OUTCOMES.index("completed")
ITL = "itl"
"""The histogram of the gaps of completed requests, in files that keep none."""

WITHOUT_GAPS = {"n_gaps": "0", **dict.fromkeys(("gaps", "gap_tokens", "gap_shared"), "NULL")}
"""Columns of a request whose gaps are not kept."""

Records = NDArray[np.void]


SQL_PLACE = f'("index" * {MULTIPLIER}) & {PLACES - 1}'
"""A request's place."""


class GapSample:
    """keep: one of plan.knobs.KEEP_GAPS. halvings: of the limit so far. n: requests in the file that have gaps."""

    def __init__(self, keep: str = "all", halvings: int = 0, n: int = 0) -> None:
        self._keep, self._halvings, self._n = keep, halvings, n
        self._histogram = _engine.Histogram()

    @classmethod
    def of_file(cls, db: sqlite3.Connection, meta: Mapping[str, Any]) -> GapSample:
        """That of a file that is gone on with."""
        known = meta.get("gaps") or {}
        (n,) = db.execute("SELECT count(*) FROM requests WHERE gaps IS NOT NULL").fetchone()
        return cls(known.get("keep", "all"), known.get("halvings", 0), n)

    def facts(self) -> dict[str, Any]:
        """For meta.gaps."""
        return {"keep": self._keep, "halvings": self._halvings}

    def taken(self, records: Records, gaps: Records) -> tuple[Records, Records]:
        """The same requests, without the gaps that are not kept: they count as having none."""
        if self._keep == "all":
            return records, gaps
        if self._keep == "none":
            self._histogram.add(_of_completed(records, gaps))
        kept = self._are_kept(records["index"])
        mask = np.repeat(kept, records["n_gaps"])
        records = records.copy()
        records["n_gaps"][~kept] = 0
        self._n += int((records["n_gaps"] > 0).sum())
        return records, gaps[mask]

    def _are_kept(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self._keep == "none":
            return np.zeros(len(numbers), dtype=np.bool_)
        place = (numbers.astype(np.uint64) * np.uint64(MULTIPLIER)) & np.uint64(PLACES - 1)
        kept: NDArray[np.bool_] = place < np.uint64(PLACES >> self._halvings)
        return kept

    def thin(self, db: sqlite3.Connection) -> bool:
        """Halve the limit as often as it takes for the file to have MOST requests with gaps at most. Whether it did."""
        if self._keep != "sample" or self._n <= MOST:
            return False
        while self._n > MOST:
            self._halvings += 1
            self._n -= _thinned(db, PLACES >> self._halvings)
        return True

    def with_own(self, histograms: Mapping[str, _engine.Histogram]) -> dict[str, _engine.Histogram]:
        """These histograms and that of the gaps."""
        return {**histograms, **({ITL: self._histogram} if self._keep == "none" else {})}


def _thinned(db: sqlite3.Connection, limit: int) -> int:
    """Take the gaps of the requests from this place on; how many had some. An UPDATE would leave each row alone in its page:
    SQLite joins pages only where rows are deleted."""
    above = f"FROM requests WHERE gaps IS NOT NULL AND {SQL_PLACE} >= {limit}"
    columns = [(field.name, f'"{field.name}"') for field in (*FIELDS, *ASKED, *BLOBS)]
    names = ", ".join(quoted for _, quoted in columns)
    values = ", ".join(WITHOUT_GAPS.get(name, quoted) for name, quoted in columns)
    db.execute("DROP TABLE IF EXISTS temp.thinned")
    db.execute(f"CREATE TEMP TABLE thinned AS SELECT {values} {above}")
    n = db.execute(f"DELETE {above}").rowcount
    db.execute(f"INSERT INTO requests({names}) SELECT * FROM thinned")
    db.execute("DROP TABLE temp.thinned")
    return n


def _of_completed(records: Records, gaps: Records) -> NDArray[np.float32]:
    mask = np.repeat(records["outcome"] == COMPLETED, records["n_gaps"])
    return np.ascontiguousarray(gaps["ns"][mask], dtype=np.float32)
