"""Which steps are not the usual work: the first ones of a server that still compiles, captures or fills caches, and those
in which it stood still (garbage collection, a throttled machine)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vllmperf.metrics.mser import GROUP, LEAST_GROUPS, warm_up
from vllmperf.model.steps import Steps

STALL = 2.5
"""A step that takes so many times the median of those with as many streams is no step of the law."""
FEW = 5


def settled(steps: Steps) -> tuple[Steps, int]:
    """The steps with those before the run has settled marked as blurred, and how many those are.

    Judged by how much longer pure decode steps take than the median of those with as many streams.
    """
    places = np.flatnonzero(steps.pure)
    if len(places) < GROUP * LEAST_GROUPS:
        return steps, 0
    cut = warm_up(_excess(steps.decodes[places], steps.duration_ns[places]))
    if cut == 0:
        return steps, 0
    blurred = steps.blurred.copy()
    blurred[: places[cut]] = True
    return replace(steps, blurred=blurred), int(places[cut])


def _excess(decodes: NDArray[np.int64], duration_ns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Duration over the median of its number of streams, cut at three times that: one stall is no warm-up."""
    return np.minimum(duration_ns / np.maximum(_usual_ns(decodes, duration_ns), 1.0), 3.0)


@dataclass(frozen=True)
class Stalls:
    """count: steps that took far too long. lost_share: of the time of all decode steps, what they took beyond the usual."""

    count: int
    lost_share: float


def without_stalls(steps: Steps) -> tuple[Steps, Stalls]:
    """The steps with stalls, and the step after each (which may have been seen late), marked as blurred."""
    places = np.flatnonzero(steps.pure)
    if len(places) < FEW:
        return steps, Stalls(0, 0.0)
    duration = steps.duration_ns[places]
    usual = _usual_ns(steps.decodes[places], duration)
    far = duration > STALL * usual
    blurred = steps.blurred.copy()
    blurred[places[far]] = True
    blurred[np.minimum(places[far] + 1, len(blurred) - 1)] = True
    lost = float((duration - usual)[far].sum() / duration.sum())
    return replace(steps, blurred=blurred), Stalls(int(far.sum()), lost)


def _usual_ns(decodes: NDArray[np.int64], duration_ns: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median duration at each number of streams; of all steps where there are few."""
    usual = np.full(len(decodes), float(np.median(duration_ns)))
    for streams in np.unique(decodes):
        rows = decodes == streams
        if rows.sum() >= FEW:
            usual[rows] = np.median(duration_ns[rows])
    return usual
