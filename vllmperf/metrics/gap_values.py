"""The values of an inter-token latency that are too many to be held: a histogram, and counts by request, by passes over gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.gap_facts import piece_sums
from vllmperf.record.gaps import GapBlock

Values = NDArray[np.float32]
Counts = NDArray[np.integer[Any]]


def per_gap(block: GapBlock) -> tuple[Values, Counts]:
    """The values of a block, and how many each request has."""
    return block.ns, block.lengths


def per_token(block: GapBlock) -> tuple[Values, Counts]:
    """Each gap spread over the tokens of its later chunk, where they are known."""
    known = block.tokens > 0
    counts = block.tokens[known]
    each = np.divide(block.ns[known], counts, dtype=np.float32)
    return np.repeat(each, counts), piece_sums(block.tokens, block.lengths, np.int64)


class GapValues:
    """Values in ns, in the order of the requests. blocks: begins a pass over the gaps. lengths: how many values each request
    has."""

    def __init__(
        self,
        blocks: Callable[[], Iterator[GapBlock]],
        values_of: Callable[[GapBlock], tuple[Values, Counts]],
        lengths: Counts,
    ) -> None:
        self._blocks, self._values_of, self.lengths = blocks, values_of, lengths
        self._found: tuple[Sequence[float], list[Counts]] = ((), [])

    def __len__(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    def all(self) -> Values:
        """As an array."""
        return np.concatenate([np.zeros(0, np.float32), *(values for _, values, _ in self._passed())])

    @cached_property
    def _totals(self) -> tuple[_engine.Histogram, NDArray[np.float64]]:
        """A histogram of all values, and the sum of each request's."""
        histogram, sums = _engine.Histogram(), np.zeros(len(self.lengths))
        for rows, values, lengths in self._passed():
            histogram.add(np.ascontiguousarray(values))
            sums[rows] = piece_sums(values, lengths, np.float64)
        return histogram, sums

    @property
    def histogram(self) -> _engine.Histogram:
        return self._totals[0]

    @property
    def sums(self) -> NDArray[np.float64]:
        """Of each request's values."""
        return self._totals[1]

    def quantiles(self, levels: Sequence[float]) -> list[float]:
        """By the histogram (levels 0 to 1): at most 0.049 % off."""
        return [self.histogram.quantile(level) for level in levels]

    def at_most(self, limits: Sequence[float]) -> list[Counts]:
        """For each limit, how many values of each request do not exceed it. The last answer is kept: ITL and ITL per token
        are often the same values."""
        if self._found[0] != tuple(limits):
            self._found = (tuple(limits), self._counted(limits))
        return self._found[1]

    def _counted(self, limits: Sequence[float]) -> list[Counts]:
        dtype = np.min_scalar_type(int(self.lengths.max(initial=0)))
        counts = [np.zeros(len(self.lengths), dtype=dtype) for _ in limits]
        for rows, values, lengths in self._passed():
            for count, limit in zip(counts, limits, strict=True):
                count[rows] = piece_sums(values <= limit, lengths, np.int32)
        return counts

    def _passed(self) -> Iterator[tuple[slice, Values, Counts]]:
        for block in self._blocks():
            yield block.rows, *self._values_of(block)
