"""Where a run has settled: the first steps of a server that still compiles, captures or fills caches are left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.steps import Steps

GROUP = 5
LEAST_GROUPS = 8
MOST = 0.5
"""No more than this share of a run is ever left out."""
GAIN = 0.8
"""Only what lowers the error of the mean by so much is worth leaving out,"""
APART = 0.02
"""and takes another time than the rest by this share."""


def warm_up(values: NDArray[np.float64]) -> int:
    """How many values at the start do not belong to the rest, by MSER-5 (White 1997): the cut after which the mean of
    groups of five is known best. 0 when nothing stands out."""
    groups = len(values) // GROUP
    if groups < LEAST_GROUPS:
        return 0
    means = values[: groups * GROUP].reshape(groups, GROUP).mean(axis=1)
    left = np.arange(groups, 0, -1)
    sums, squares = np.cumsum(means[::-1])[::-1], np.cumsum(means[::-1] ** 2)[::-1]
    error = (squares - sums**2 / left) / left**2
    best = int(np.argmin(error[: int(groups * MOST) + 1]))
    if best == 0 or error[best] >= GAIN * error[0]:
        return 0
    rest = float(means[best:].mean())
    return best * GROUP if abs(float(means[:best].mean()) - rest) > APART * abs(rest) else 0


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
    excess = np.ones(len(decodes))
    for streams in np.unique(decodes):
        rows = decodes == streams
        excess[rows] = duration_ns[rows] / max(float(np.median(duration_ns[rows])), 1.0)
    return np.minimum(excess, 3.0)
