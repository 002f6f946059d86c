"""Reads a run file into arrays.

The file is opened read-only, may still be written to, and may be of a killed run.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.errors import UsageError
from vllmperf.record import gaps, schema
from vllmperf.record.fields import ASKED, FIELDS
from vllmperf.record.gaps import GapBlock, Gaps, offsets
from vllmperf.record.plans import described
from vllmperf.record.process import is_alive
from vllmperf.record.samples import Series, read_samples
from vllmperf.record.table import Requests, Table, table

ROWS_AT_A_TIME = 1024


class NoTexts(Sequence[None]):
    """None for each request, without a list of them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> None: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[None]: ...
    def __getitem__(self, place: int | slice) -> Sequence[None] | None:
        if isinstance(place, slice):
            return NoTexts(len(range(self._count)[place]))
        range(self._count)[place]  # raises IndexError
        return None


@dataclass(frozen=True)
class Recording:
    """A run as it was recorded; everything is sorted by the request's number.

    requests: table of the fields of record/fields.py, NONE where something did not happen.
    gaps: see record/gaps.py; gaps_ns, gap_tokens (0 = unknown), gap_shared are arrays of all of them, one value a gap.
    gap_request: offsets, int64 [n+1]: the gaps of request i are gap_request[i] to gap_request[i+1].
    samples: what was sampled beside the run, by source and name (record/samples.py).
    asked: table of the fields ASKED of record/fields.py, one row a request; None: not of a run file.
    stamps: int64 [m, 2] of (arrived, seen) with offsets in stamp_request; empty when they were not kept.
    plan: settings of the plan and facts beside it, by name; record.plans.plan_of(meta) is the Plan itself.
    state: "running", "finished", "interrupted", or "killed" when the writer is gone without a word.
    """

    path: Path
    plan: dict[str, Any]
    environment: dict[str, Any]
    meta: dict[str, Any]
    state: str
    requests: Requests
    gaps: Gaps
    stamps: NDArray[np.int64]
    texts: Sequence[str | None]
    errors: Sequence[str | None]
    histograms: dict[str, _engine.Histogram]
    asked: Requests | None = None
    samples: Mapping[tuple[str, str], Series] = field(default_factory=dict)

    @property
    def gaps_ns(self) -> NDArray[np.float32]:
        return self.gaps.ns

    @property
    def gap_tokens(self) -> NDArray[np.uint16]:
        return self.gaps.tokens

    @property
    def gap_shared(self) -> NDArray[np.bool_]:
        return self.gaps.shared

    @property
    def gap_request(self) -> NDArray[np.int64]:
        return offsets(self.requests["n_gaps"])

    @property
    def stamp_request(self) -> NDArray[np.int64]:
        return offsets(self.requests["n_chunk_stamps"])

    def gap_blocks(self) -> Iterator[GapBlock]:
        """All gaps in pieces, so that memory does not grow with the run."""
        return self.gaps.blocks(self.requests["n_gaps"])

    @property
    def keep_gaps(self) -> str:
        """Of which requests the gaps are kept: "all", "sample" or "none". A sample that has all of them is "all"."""
        known = self.meta.get("gaps") or {}
        is_whole = known.get("keep") == "sample" and not known.get("halvings")
        return "all" if is_whole else str(known.get("keep", "all"))

    @property
    def counters(self) -> dict[str, Any]:
        """The engine's own figures, as they were last written."""
        counters: dict[str, Any] = self.meta.get("counters") or {}
        return counters


def read(path: Path | str, texts: bool = True) -> Recording:
    """Read a run file. With texts=False the response texts stay in the file.

    Raises UsageError when the file is missing, is no run file, is damaged, or was written by a newer version.
    """
    path = Path(path)
    with _opened(path) as db:
        return _recording(path, db, texts)


def check(path: Path | str) -> None:
    """Raise UsageError for a file that read() would refuse, without reading its requests."""
    path = Path(path)
    with _opened(path) as db:
        _check_schema(path, db)


class Header(NamedTuple):
    """What a run file says beside its requests."""

    path: Path
    meta: dict[str, Any]
    state: str
    histograms: dict[str, _engine.Histogram]

    def opened(self) -> AbstractContextManager[sqlite3.Connection]:
        """The database, for reading."""
        return _opened(self.path)


def header(path: Path | str) -> Header:
    """Read all but the requests. Raises UsageError as read() does."""
    path = Path(path)
    with _opened(path) as db:
        _check_schema(path, db)
        meta = _meta(db)
        return Header(path, meta, _state(meta), _histograms(db))


def _meta(db: sqlite3.Connection) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM meta")}


def _histograms(db: sqlite3.Connection) -> dict[str, _engine.Histogram]:
    rows = db.execute("SELECT name, data FROM histograms")
    return {name: _engine.Histogram.unpack(data) for name, data in rows}


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    _check_file(path)
    try:
        with _open(path) as db:
            yield db
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is damaged and cannot be read as a run file ({error})") from error


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UsageError(
            f"there is no run file {path}: check the name, runs are written by `vllmperf bench --record FILE`"
        )
    if not path.is_file():
        raise UsageError(f"{path} is not a file: give the name of a run file")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if not head:
        raise UsageError(f"{path} is empty: that run was ended before it had begun")
    if head != b"SQLite format 3\0":
        raise UsageError(f"{path} is not a run file: those are written by `vllmperf bench --record FILE`")


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    db = _connect(path, "ro")
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        # A writer was killed within a transaction: playing back its journal needs the right to write.
        if error.sqlite_errorcode not in (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_CANTOPEN):
            raise
        db.close()
        db = _play_back(path)
    try:
        yield db
    finally:
        db.close()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=10
    )
    db.execute("PRAGMA query_only = ON")
    return db


def _play_back(path: Path) -> sqlite3.Connection:
    db = _connect(path, "rw")
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        db.close()
        raise UsageError(
            f"the run of {path} was killed while writing, and its repair needs the right to write it: "
            f"copy it and {path.name}-journal to a folder of yours"
        ) from error
    return db


def _recording(path: Path, db: sqlite3.Connection, texts: bool) -> Recording:
    _check_schema(path, db)
    db.execute("BEGIN")  # one moment of a file that may still grow
    meta = _meta(db)
    requests, asked = _read_requests(db)
    has_stamps = bool(requests["n_chunk_stamps"].any())
    stamps = b"".join(row[0] for row in _rows(db, "stamps") if row[0]) if has_stamps else b""
    state = _state(meta)
    return Recording(
        path=path,
        plan=described(meta),
        environment=meta.get("environment") or {},
        meta=meta,
        state=state,
        requests=requests,
        gaps=_gaps(path, db, int(requests["n_gaps"].sum(dtype=np.int64)), state),
        stamps=np.frombuffer(stamps, dtype="<i8").reshape(-1, 2),
        texts=_texts(db, "text", len(requests), texts and bool(requests["text_len"].any())),
        errors=_texts(db, "error", len(requests), bool(requests["error_len"].any())),
        histograms=_histograms(db),
        asked=asked,
        samples=read_samples(db),
    )


def _gaps(path: Path, db: sqlite3.Connection, n: int, state: str) -> Gaps:
    """Those of a file that is still written to are read with its requests, however many they are."""
    if n <= gaps.HELD_UP_TO or state == "running":
        return gaps.held(db, n)
    return gaps.StoredGaps(path, partial(_opened, path), n)


def _check_schema(path: Path, db: sqlite3.Connection) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != schema.APPLICATION_ID:
        raise UsageError(
            f"{path} is a database but not a run file: those are written by `vllmperf bench --record FILE`"
        )
    if version > schema.SCHEMA_VERSION:
        raise UsageError(
            f"{path} was written by a newer vllmperf (run file version {version}, this one reads up to "
            f"{schema.SCHEMA_VERSION}): upgrade vllmperf to read it"
        )


def _state(meta: Mapping[str, Any]) -> str:
    state = str(meta.get("state"))
    return "killed" if state == "running" and not is_alive(meta.get("writer") or {}) else state


def _rows(db: sqlite3.Connection, columns: str) -> Iterator[tuple[Any, ...]]:
    cursor = db.execute(f'SELECT {columns} FROM requests ORDER BY "index"')
    while rows := cursor.fetchmany(ROWS_AT_A_TIME):
        yield from rows


def _read_requests(db: sqlite3.Connection) -> tuple[Table, Table]:
    """All fields as numbers, and what was asked: NONE for NULL, the engine's number for a name."""
    there = _columns(db)
    columns = ", ".join(_number(field.name, there) for field in (*FIELDS, *ASKED))
    asked = [(field.name, "<i8") for field in ASKED]
    (count,) = db.execute("SELECT count(*) FROM requests").fetchone()
    both = table(_numbers(db, columns), np.dtype([*_engine.RECORD_DTYPE, *asked]), count)
    return both.part(np.dtype(_engine.RECORD_DTYPE)), both.part(np.dtype(asked))


def _numbers(db: sqlite3.Connection, columns: str) -> Iterator[NDArray[np.int64]]:
    cursor = db.execute(f'SELECT {columns} FROM requests ORDER BY "index"')
    while rows := cursor.fetchmany(ROWS_AT_A_TIME):
        yield np.array(rows, dtype=np.int64)


def _texts(db: sqlite3.Connection, column: str, count: int, is_there: bool) -> Sequence[str | None]:
    return [row[0] for row in _rows(db, column)] if is_there else NoTexts(count)


def _columns(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM pragma_table_info('requests')")}


def _number(name: str, there: set[str]) -> str:
    """SQL that reads a column as a number. NONE for one that the file's version did not have yet."""
    if name in schema.NOT_IN_ALL - there:
        return str(_engine.NONE)
    table = schema.ENUM_COLUMNS.get(name)
    if table is None:
        return f"ifnull({schema.quoted(name)}, {_engine.NONE})"
    whens = " ".join(f"WHEN '{word}' THEN {number}" for number, word in enumerate(getattr(_engine, table)))
    return f"CASE {name} {whens} END"
