"""What the gaps of each request say, found in one pass over blocks of them. No array here is as long as the gaps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllmperf.record.gaps import GapBlock

BURST_NS = 100_000.0
"""Token chunks that are on average closer than this came in one burst: no engine gives a stream 10,000 a second."""
MAY_BE_BURST_NS = 10 * BURST_NS
"""An answer whose first gap is longer did not begin with a burst: its other gaps need not be looked at."""

Counts = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True)
class GapFacts:
    """One value a request. sum_ns: of its gaps. burst: gaps up to the last one before which they are shorter than BURST_NS on
    average. known: gaps whose tokens are known. tokens: of these. shared: gaps that are an even split of the time of one
    read."""

    sum_ns: NDArray[np.float64]
    burst: Counts
    known: Counts
    tokens: Counts
    shared: Counts

    @classmethod
    def of(cls, blocks: Iterable[GapBlock], requests: int) -> GapFacts:
        found = cls(np.zeros(requests), *(np.zeros(requests, dtype=np.uint32) for _ in range(4)))
        found._take(blocks)
        return found._narrowed()

    def _take(self, blocks: Iterable[GapBlock]) -> None:
        for block in blocks:
            rows, lengths = block.rows, block.lengths
            self.sum_ns[rows] = piece_sums(block.ns, lengths, np.float64)
            self.burst[rows] = _bursts(block.ns, lengths)
            self.known[rows] = piece_sums(block.tokens > 0, lengths, np.uint32)
            self.tokens[rows] = piece_sums(block.tokens, lengths, np.uint32)
            if block.shared.any():
                self.shared[rows] = piece_sums(block.shared, lengths, np.uint32)

    def _narrowed(self) -> GapFacts:
        """The same counts in the narrowest types that hold them."""
        counts = self.burst, self.known, self.tokens, self.shared
        return GapFacts(
            self.sum_ns, *(each.astype(np.min_scalar_type(int(each.max(initial=0)))) for each in counts)
        )

    def __getitem__(self, rows: NDArray[np.bool_] | slice) -> GapFacts:
        """Those of some of the requests."""
        return GapFacts(
            self.sum_ns[rows], self.burst[rows], self.known[rows], self.tokens[rows], self.shared[rows]
        )


def piece_sums(values: NDArray[Any], lengths: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Sum of each piece of these lengths."""
    sums = np.zeros(len(lengths), dtype=dtype)
    held = lengths > 0
    if held.any():
        starts = (np.cumsum(lengths, dtype=np.int64) - lengths)[held]  # reduceat misreads empty pieces
        sums[held] = np.add.reduceat(values, starts, dtype=dtype)
    return sums


def _bursts(gaps_ns: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.cumsum(lengths) - lengths
    found = np.zeros(len(lengths), dtype=np.int64)
    rows = np.flatnonzero(lengths > 0)
    rows = rows[gaps_ns[starts[rows]] < MAY_BE_BURST_NS]
    if len(rows) == 0:
        return found
    number, place = _numbers_and_places(lengths[rows], starts[rows])
    times = np.cumsum(gaps_ns[place], dtype=np.float64)
    first = np.flatnonzero(number == 1)
    times -= np.repeat(times[first] - gaps_ns[place[first]], lengths[rows])
    found[rows] = np.maximum.reduceat(np.where(times < number * BURST_NS, number, 0), first)
    return found


def _numbers_and_places(
    lengths: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of pieces one after another: the number of each element in its piece, from 1, and its place in the whole."""
    before = np.cumsum(lengths) - lengths
    number = np.arange(1, int(lengths.sum()) + 1) - np.repeat(before, lengths)
    return number, np.repeat(starts, lengths) + number - 1
