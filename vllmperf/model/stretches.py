"""Stretches: steps in a row that did the same work, taken as one measurement.

The stamp of a step's end is late by chance, which makes its own step longer and the next one shorter. Over a stretch
all of that cancels but the two ends, so that m steps are known m times better than one step, not √m times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.steps import Steps

NS_PER_MS = 1e6
BLOCKS_PER_RUN = 20
"""Stretches near in time may share a disturbance: they are drawn together in the bootstrap."""


@dataclass(frozen=True)
class Stretches:
    """All arrays have one element a stretch: its number of streams, of steps, the mean step in ms, the mean context
    of all its streams in tokens, and the block of time that it lies in."""

    decodes: NDArray[np.int64]
    count: NDArray[np.int64]
    step_ms: NDArray[np.float64]
    context_tokens: NDArray[np.float64]
    block: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.decodes)


def even_blocks(run: int, rows: int) -> NDArray[np.int64]:
    """The block of each of so many measurements of a run, in order of time; `run` is its number."""
    return np.asarray(run * BLOCKS_PER_RUN + np.arange(rows) * BLOCKS_PER_RUN // max(rows, 1), dtype=np.int64)


def decode_stretches(runs: Sequence[Steps]) -> Stretches:
    """Runs of pure decode steps with one number of streams, of all the runs given."""
    parts = [_of_one(run, number) for number, run in enumerate(runs)]
    columns = zip(*parts, strict=True) if parts else iter([[np.zeros(0)]] * 5)
    decodes, count, step_ms, context, block = (np.concatenate(column) for column in columns)
    return Stretches(
        decodes.astype(np.int64), count.astype(np.int64), step_ms, context, block.astype(np.int64)
    )


def _of_one(run: Steps, number: int) -> tuple[NDArray[np.float64], ...]:
    places = np.flatnonzero(run.pure)
    if len(places) == 0:
        return (np.zeros(0),) * 5
    decodes = run.decodes[places]
    opens = np.flatnonzero(np.append(True, (np.diff(places) != 1) | (np.diff(decodes) != 0)))
    count = np.diff(np.append(opens, len(places)))
    total = np.add.reduceat(run.duration_ns[places], opens)
    context = np.add.reduceat(run.context_tokens[places], opens)
    middle = run.end_ns[places[opens]]
    span = max(float(run.end_ns[-1] - run.end_ns[0]), 1.0)
    block = np.minimum((middle - run.end_ns[0]) / span * BLOCKS_PER_RUN, BLOCKS_PER_RUN - 1).astype(np.int64)
    return (
        decodes[opens].astype(np.float64),
        count.astype(np.float64),
        total / count / NS_PER_MS,
        context / count,
        (block + number * BLOCKS_PER_RUN).astype(np.float64),
    )
