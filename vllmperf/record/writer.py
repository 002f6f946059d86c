"""Writes a run file while the run goes: each batch of finished requests is one committed transaction.

What was committed survives a kill of the process at any moment (SQLite's rollback journal). It is not
flushed to the disk at each commit, so a power cut may lose the file: a benchmark must not compete with its
own fsync."""

from __future__ import annotations  # Batch exists for the type checker only

import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.errors import UsageError, VllmperfError
from vllmperf.record import schema
from vllmperf.record.fields import ASKED
from vllmperf.record.gap_sample import GapSample
from vllmperf.record.process import this_process
from vllmperf.record.samples import INSERT, Sample

PRAGMAS = (
    *("page_size=8192", "journal_mode=DELETE", "synchronous=OFF", "cache_size=-4096"),
    *("temp_store=MEMORY", "locking_mode=NORMAL"),
)
Records = NDArray[np.void]
AT_ONCE = 1000
"""Requests that stand in memory as Python objects."""
STAMP_BYTES = 16


class RunFileError(VllmperfError):
    """What finished cannot be written to the run file any more. why: in the system's words."""

    def __init__(self, path: Path, why: sqlite3.Error) -> None:
        super().__init__(f"cannot write the run file {path}: {why}")
        self.why = str(why)


Asked = Callable[[list[int]], Sequence[tuple[int | None, ...]]]
"""For numbers of requests: the first fields of record.fields.ASKED of each; the others are not known."""


def _not_known(indexes: list[int]) -> list[tuple[int | None, ...]]:
    return [()] * len(indexes)


def _filled(known: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return (*known, *[None] * (len(ASKED) - len(known)))


class RunWriter:
    """The run file of a run that goes on now. Memory does not grow with the run.

    `plan` is Plan.to_dict(); `facts` is what is known beside it, by name, see loadgen.task.Task.facts.
    facts["keep_gaps"] says of which requests the gaps are kept (gap_sample.py).
    `secrets` are texts (API keys) that a server may echo in an error body; they are struck out before
    writing. `asked` gives what requests asked for, see load.feed.Feeder.asked.
    Raises UsageError when the file exists already or cannot be made, RunFileError when writing fails later."""

    def __init__(
        self,
        path: Path,
        plan: Mapping[str, Any],
        environment: Mapping[str, Any],
        started_real_ns: int | None = None,
        secrets: Iterable[str] = (),
        asked: Asked | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        sample = GapSample(str((facts or {}).get("keep_gaps", "all")))
        self._prepare(path, secrets, asked, create(Path(path)), sample)
        try:
            self._begin(
                plan=plan,
                facts=facts or {},
                environment=environment,
                started_at=iso_utc(started_real_ns or time.time_ns()),
            )
        except RunFileError as error:
            self.close()
            self.path.unlink(missing_ok=True)
            raise UsageError(str(error)) from error

    def _begin(self, **meta: object) -> None:
        with self._transaction():
            for statement in (*schema.create_statements(), *schema.reserve_statements()):
                self._db.execute(statement)
            self._put_meta(
                schema=schema.SCHEMA_VERSION,
                tool={"name": "vllmperf", "version": _version()},
                **meta,
                state="running",
                writer=this_process(),
                counters={},
                gaps=self._sample.facts(),
            )

    def _prepare(
        self,
        path: Path,
        secrets: Iterable[str],
        asked: Asked | None,
        db: sqlite3.Connection,
        sample: GapSample,
    ) -> None:
        self.path, self._db, self._sample = Path(path), db, sample
        self._asked = asked or _not_known
        self._secrets = [secret for secret in secrets if secret]
        self._record_dtype = np.dtype(_engine.RECORD_DTYPE)
        self._gap_dtype = np.dtype(_engine.GAP_DTYPE)
        self._insert = schema.insert_statement()
        self._n_written = 0

    def append(self, batch: _engine.Batch) -> None:
        """Write and commit a batch as Engine.drain() gave it."""
        records = np.frombuffer(batch["records"], dtype=self._record_dtype)
        if len(records) == 0:
            return
        gaps = np.frombuffer(batch["gaps"], dtype=self._gap_dtype)
        records, gaps = self._sample.taken(records, gaps)
        with self._transaction():
            for part in _parts(records, gaps, batch):
                self._db.executemany(self._insert, self._rows(*part))
            if self._sample.thin(self._db):
                self._put_meta(gaps=self._sample.facts())
        self._n_written += len(records)

    def _rows(self, records: Records, gaps: Records, stamps: bytes, data: bytes) -> Iterator[tuple[Any, ...]]:
        columns = [
            *(_column(records, name) for name in self._record_dtype.names or ()),
            *zip(*map(_filled, self._asked(records["index"].tolist())), strict=True),
            *_gap_columns(records["n_gaps"], gaps),
            _pieces(stamps, records["n_chunk_stamps"] * np.uint32(STAMP_BYTES)),
            *self._texts(records, data),
        ]
        return zip(*columns, strict=True)

    def sample(self, rows: Sequence[Sample]) -> None:
        """Write and commit what was sampled beside the run."""
        with self._transaction():
            self._db.executemany(INSERT, rows)

    def checkpoint(self, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]) -> None:
        """Commit counters and histograms as they are now, so that the file of a killed run has them too."""
        with self._transaction():
            self._put_counters(counters, self._sample.with_own(histograms))

    def finish(
        self, state: str, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]
    ) -> None:
        """The run is over: write the last figures and close. `state` is "finished" or "interrupted"."""
        if state not in schema.STATES:
            raise ValueError(f"state is {state!r}, not one of {schema.STATES}")
        with self._transaction():
            self._db.execute(schema.FREE_RESERVE)
            self._put_counters(counters, self._sample.with_own(histograms))
            self._put_meta(state=state, finished_at=iso_utc(time.time_ns()))
        self.close()

    def pause(self, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]) -> None:
        """A part of the run is over, and this process goes on with it later: write the figures and close."""
        self.checkpoint(counters, histograms)
        self.close()

    def give_up(self, error: RunFileError, counters: Mapping[str, Any]) -> None:
        """Writing failed: say so in the file, in the room that was kept for it, and close. What was committed stays.

        counters: the engine's last ones. Raises RunFileError when not even that can be written.
        """
        self._db.execute("PRAGMA journal_mode=MEMORY")  # one on the disk would need room
        unwritten = int(counters.get("done") or 0) - self._n_written
        why = {"gave_up": "run_file", "write_error": error.why, "unwritten": unwritten}
        with self._transaction():
            self._db.execute(schema.FREE_RESERVE)
            self._put_counters({**self._counters(), **counters, **why}, self._sample.with_own({}))
            self._put_meta(state="interrupted", finished_at=iso_utc(time.time_ns()))
        self.close()

    def _counters(self) -> dict[str, Any]:
        """As they were last written."""
        (text,) = self._db.execute("SELECT value FROM meta WHERE key = 'counters'").fetchone()
        found: dict[str, Any] = json.loads(text)
        return found

    def close(self) -> None:
        """Leave the file as it is: without finish() it stays one of a killed run. Closing twice is fine."""
        self._db.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._is_open():  # the program failed, but what it recorded is a run
            with suppress(RunFileError), self._transaction():
                self._put_meta(state="interrupted")
        self.close()

    def _is_open(self) -> bool:
        try:
            return self._db.total_changes >= 0
        except sqlite3.ProgrammingError:
            return False

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise RunFileError(self.path, error) from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _put_meta(self, **values: object) -> None:
        put_meta(self._db, values)

    def _put_counters(self, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]) -> None:
        self._put_meta(counters=dict(counters))
        if start := counters.get("start_real_ns"):
            self._put_meta(started_at=iso_utc(start))
        rows = [(name, histogram.pack()) for name, histogram in histograms.items()]
        self._db.executemany("INSERT OR REPLACE INTO histograms VALUES(?, ?)", rows)

    def _texts(self, records: Records, data: bytes) -> tuple[list[str | None], list[str | None]]:
        """The text and the error of each request: they alternate in `data`."""
        lengths = np.stack([records["text_len"], records["error_len"]], axis=1).reshape(-1)
        words = [None if piece is None else self._clean(piece) for piece in _pieces(data, lengths)]
        return words[0::2], words[1::2]

    def _clean(self, piece: bytes) -> str:
        text = piece.decode("utf-8", errors="replace")
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def put_meta(db: sqlite3.Connection, values: Mapping[str, object]) -> None:
    """Write JSON values under their keys, in the place of older ones."""
    rows = [(key, json.dumps(_plain(value), allow_nan=False)) for key, value in values.items()]
    db.executemany("INSERT OR REPLACE INTO meta VALUES(?, ?)", rows)


def iso_utc(real_ns: int) -> str:
    """2026-11-24T10:00:00.000Z"""
    moment = datetime.fromtimestamp(real_ns / 1e9, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> object:
    """Only what strict JSON knows: an endless rate becomes "inf", NaN null, a path its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _version() -> str:
    from vllmperf.version import __version__

    return str(__version__)


def create(path: Path) -> sqlite3.Connection:
    """An empty database. Raises UsageError where something is already."""
    # an empty file may stand there already, made by tempfile
    if path.exists() and (not path.is_file() or path.stat().st_size):
        raise UsageError(f"{path} exists already: choose another name for the run file or remove it")
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
    except sqlite3.Error as error:
        raise UsageError(f"cannot make the run file {path}: {error}") from error
    return db


def _parts(
    records: Records, gaps: Records, batch: _engine.Batch
) -> Iterator[tuple[Records, Records, bytes, bytes]]:
    """Records, gaps, stamps and texts of a few requests at a time: as Python objects they take many times the room."""
    n_gaps, n_stamps = (_before(records[name]) for name in ("n_gaps", "n_chunk_stamps"))
    n_bytes = _before(records["text_len"] + records["error_len"])
    for first in range(0, len(records), AT_ONCE):
        last = min(first + AT_ONCE, len(records))
        stamps = batch["stamps"][n_stamps[first] * STAMP_BYTES : n_stamps[last] * STAMP_BYTES]
        data = batch["bytes"][n_bytes[first] : n_bytes[last]]
        yield records[first:last], gaps[n_gaps[first] : n_gaps[last]], stamps, data


def _before(counts: NDArray[np.uint32]) -> list[int]:
    """How many there are before each request, and in all."""
    return [0, *np.cumsum(counts, dtype=np.int64).tolist()]


def _column(records: Records, name: str) -> list[Any]:
    """A field as Python objects: None for NONE, the name for an enum."""
    column = records[name]
    if table := schema.ENUM_COLUMNS.get(name):
        names: tuple[str, ...] = getattr(_engine, table)
        return [names[number] for number in column.tolist()]
    values: list[Any] = column.tolist()
    if column.dtype.itemsize == 8 and (column == _engine.NONE).any():
        return [None if value == _engine.NONE else value for value in values]
    return values


def _pieces(data: bytes, lengths: NDArray[np.uint32]) -> list[bytes | None]:
    """`data` cut into consecutive pieces; None for an empty one."""
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    starts = [0, *ends[:-1]]
    return [data[a:b] if b > a else None for a, b in zip(starts, ends, strict=True)]


def _gap_columns(n_gaps: NDArray[np.uint32], gaps: Records) -> tuple[Sequence[bytes | None], ...]:
    """The blobs gaps, gap_tokens and gap_shared of each request."""
    ns = _pieces(np.ascontiguousarray(gaps["ns"]).tobytes(), n_gaps * np.uint32(4))
    nothing: list[bytes | None] = [None] * len(n_gaps)
    tokens, shared = nothing, nothing
    if gaps["tokens"].any():
        pieces = _pieces(np.ascontiguousarray(gaps["tokens"]).tobytes(), n_gaps * np.uint32(2))
        tokens = [_packed_tokens(piece) for piece in pieces]
    if gaps["shared"].any():
        pieces = _pieces(gaps["shared"].astype(np.uint8).tobytes(), n_gaps)
        shared = [piece if piece and 1 in piece else None for piece in pieces]
    return ns, tokens, shared


def _packed_tokens(piece: bytes | None) -> bytes | None:
    """None when all are unknown (0), one value when all are alike: the usual stream brings one
    token a chunk."""
    if piece is None or piece != piece[:2] * (len(piece) // 2):
        return piece
    return piece[:2] if any(piece[:2]) else None
