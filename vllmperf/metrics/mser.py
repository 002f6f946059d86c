"""MSER-5: where a series has settled, found once for requests, concurrency and the engine's steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GROUP = 5
LEAST_GROUPS = 8
MOST = 0.5
"""No more than this share of a series is ever left out."""
GAIN = 0.8
"""Only what lowers the error of the mean by so much is worth leaving out,"""
APART = 0.02
"""and differs from the rest by this share."""


def warm_up(values: NDArray[np.float64], slack: float = 0.0) -> int:
    """How many values at the start do not belong to the rest, by MSER-5 (White 1997): the cut after which the mean of
    groups of five is known best. 0 when nothing stands out.

    slack: of what the best cut gains; the earliest one that gains all but this share is taken."""
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
    best = int(np.argmax(error <= error[best] + slack * (error[0] - error[best])))
    rest = float(means[best:].mean())
    return best * GROUP if abs(float(means[:best].mean()) - rest) > APART * abs(rest) else 0
