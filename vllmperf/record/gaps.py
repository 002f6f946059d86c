"""The gaps of a run, the bulk of it: held in memory up to a cap, beyond it read from the run file block by block."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vllmperf.errors import UsageError

HELD_UP_TO = 5_000_000
"""Gaps of a finished run that are held in memory (35 MB)."""
GAPS_AT_A_TIME = 100_000

Lengths = NDArray[np.int64]


class GapBlock(NamedTuple):
    """The gaps of requests that follow one another. rows: these requests. lengths: how many gaps each has. ns, tokens (0 =
    unknown), shared: one value a gap."""

    rows: slice
    lengths: Lengths
    ns: NDArray[np.float32]
    tokens: NDArray[np.uint16]
    shared: NDArray[np.bool_]

    def only(self, counts: NDArray[np.bool_], rows: slice) -> GapBlock:
        """Those of some of its requests, which are called `rows`."""
        if counts.all():
            return self._replace(rows=rows)
        kept = np.repeat(counts, self.lengths)
        return GapBlock(rows, self.lengths[counts], self.ns[kept], self.tokens[kept], self.shared[kept])


class Gaps(Protocol):
    """ns, tokens (0 = unknown), shared: one value a gap, all requests after one another."""

    @property
    def ns(self) -> NDArray[np.float32]: ...
    @property
    def tokens(self) -> NDArray[np.uint16]: ...
    @property
    def shared(self) -> NDArray[np.bool_]: ...
    def blocks(self, lengths: NDArray[Any]) -> Iterator[GapBlock]:
        """All of them, of about GAPS_AT_A_TIME each. lengths: how many gaps each request has."""


@dataclass(frozen=True)
class HeldGaps:
    """In memory."""

    ns: NDArray[np.float32]
    tokens: NDArray[np.uint16]
    shared: NDArray[np.bool_]

    def blocks(self, lengths: NDArray[Any]) -> Iterator[GapBlock]:
        for rows, first, after in _blocks(lengths):
            of = slice(first, after)
            yield GapBlock(rows, _whole(lengths[rows]), self.ns[of], self.tokens[of], self.shared[of])


@dataclass(frozen=True)
class SelectedGaps:
    """Those of some requests. lengths: how many gaps each of all requests has."""

    gaps: Gaps
    lengths: Lengths
    selected: NDArray[np.bool_]

    @property
    def ns(self) -> NDArray[np.float32]:
        return self.gaps.ns[self._mask]

    @property
    def tokens(self) -> NDArray[np.uint16]:
        return self.gaps.tokens[self._mask]

    @property
    def shared(self) -> NDArray[np.bool_]:
        return self.gaps.shared[self._mask]

    @property
    def _mask(self) -> NDArray[np.bool_]:
        return np.repeat(self.selected, self.lengths)

    def blocks(self, lengths: NDArray[Any]) -> Iterator[GapBlock]:  # noqa: ARG002 follow from the selection
        row = 0
        for block in self.gaps.blocks(self.lengths):
            counts = self.selected[block.rows]
            rows = slice(row, row + int(counts.sum()))
            yield block.only(counts, rows)
            row = rows.stop


class StoredGaps:
    """In a run file that is not written to any more. opened: gives the database for reading.

    Raises UsageError when the file has changed since its requests were read.
    """

    def __init__(
        self, path: Path, opened: Callable[[], AbstractContextManager[sqlite3.Connection]], n: int
    ) -> None:
        self._path, self._opened, self._n = path, opened, n

    @cached_property
    def _all(self) -> HeldGaps:
        with self._opened() as db:
            return held(db, self._n)

    @property
    def ns(self) -> NDArray[np.float32]:
        return self._all.ns

    @property
    def tokens(self) -> NDArray[np.uint16]:
        return self._all.tokens

    @property
    def shared(self) -> NDArray[np.bool_]:
        return self._all.shared

    def blocks(self, lengths: NDArray[Any]) -> Iterator[GapBlock]:
        with self._opened() as db:
            db.execute("BEGIN")
            cursor = _cursor(db)
            for rows, first, after in _blocks(lengths):
                found = cursor.fetchmany(rows.stop - rows.start)
                if len(found) < rows.stop - rows.start or _lengths(found) != lengths[rows].tolist():
                    raise UsageError(f"{self._path} was changed while it was read: try again")
                yield _block(found, rows, _whole(lengths[rows]), after - first)


def held(db: sqlite3.Connection, n: int) -> HeldGaps:
    """All n gaps of a run file. What is the same for all of them takes no memory."""
    ns, shared = np.zeros(n, np.float32), np.zeros(n, np.bool_)
    tokens: NDArray[np.uint16] = np.broadcast_to(np.uint16(0), n)
    cursor, at = _cursor(db), 0
    while found := cursor.fetchmany(1024):
        lengths = np.array(_lengths(found), dtype=np.int64)
        block = _block(found, slice(0), lengths, int(lengths.sum()))
        of = slice(at, at + len(block.ns))
        ns[of] = block.ns
        if block.shared.any():
            shared[of] = block.shared
        if at == 0 and of.stop:
            tokens = np.broadcast_to(block.tokens[0], n)
        if not tokens.flags.writeable and (block.tokens != tokens[:1]).any():
            tokens = tokens.copy()
        if tokens.flags.writeable:
            tokens[of] = block.tokens
        at = of.stop
    return HeldGaps(ns, tokens, shared)


def offsets(lengths: NDArray[Any]) -> Lengths:
    """Where each piece of these lengths begins, and where the last one ends: int64 [n + 1]."""
    found = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def pieces(edges: Lengths, at_a_time: int) -> Iterator[slice]:
    """Requests in pieces that have about so many things each; edges: as offsets() gives them."""
    starts = np.searchsorted(edges, np.arange(0, edges[-1] + 1, at_a_time)).tolist()
    yield from (slice(first, after) for first, after in pairwise([*starts, len(edges) - 1]) if after > first)


def _blocks(lengths: NDArray[Any]) -> list[tuple[slice, int, int]]:
    """Requests in pieces, the first gap of each, and the one after its last."""
    edges = offsets(lengths)
    return [(rows, int(edges[rows.start]), int(edges[rows.stop])) for rows in pieces(edges, GAPS_AT_A_TIME)]


def _whole(lengths: NDArray[Any]) -> Lengths:
    """Of some requests: sums of narrow types may not be what they seem."""
    return lengths.astype(np.int64, copy=False)


def _cursor(db: sqlite3.Connection) -> sqlite3.Cursor:
    return db.execute('SELECT gaps, gap_tokens, gap_shared FROM requests ORDER BY "index"')


def _lengths(found: list[tuple[Any, ...]]) -> list[int]:
    return [len(row[0]) // 4 if row[0] else 0 for row in found]


def _block(found: list[tuple[Any, ...]], rows: slice, lengths: Lengths, n: int) -> GapBlock:
    ns = np.frombuffer(b"".join(row[0] for row in found if row[0]), dtype="<f4")
    tokens = _tokens([row[1] for row in found], lengths, n)
    shared = np.zeros(n, dtype=np.bool_)
    if any(row[2] for row in found):
        edges = offsets(lengths)
        for i, row in enumerate(found):
            if row[2]:
                shared[edges[i] : edges[i + 1]] = np.frombuffer(row[2], dtype=np.uint8)
    return GapBlock(rows, lengths, ns, tokens, shared)


def _tokens(blobs: list[bytes | None], lengths: Lengths, n: int) -> NDArray[np.uint16]:
    """One value fills all gaps of its request."""
    if not any(blobs):
        return np.zeros(n, dtype=np.uint16)
    if all(blob is None or len(blob) == 2 for blob in blobs):
        values = np.frombuffer(b"".join(blob or b"\0\0" for blob in blobs), dtype="<u2")
        return np.repeat(values, lengths)
    tokens, edges = np.zeros(n, dtype=np.uint16), offsets(lengths)
    for i, blob in enumerate(blobs):
        if blob:
            tokens[edges[i] : edges[i + 1]] = np.frombuffer(blob, dtype="<u2")
    return tokens
