"""How many requests were in flight, by a sweep over the moments at which they were sent and ended."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine


@dataclass(frozen=True, slots=True)
class InFlight:
    """mean: over time, first sent to last end.

    mean_sending: first sent to last sent, without the run's tail.
    """

    mean: float | None
    mean_sending: float | None
    max: int


def sweep(requests: NDArray[np.void]) -> InFlight:
    """From all recorded requests that were sent, whatever became of them."""
    sent, end = _intervals(requests)
    if len(sent) == 0:
        return InFlight(None, None, 0)
    return InFlight(
        mean=_mean_until(sent, end, int(end.max())),
        mean_sending=_mean_until(sent, end, int(sent.max())),
        max=_highest(sent, end),
    )


def _intervals(requests: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    has_both = (requests["sent_ns"] != _engine.NONE) & (requests["end_ns"] != _engine.NONE)
    return requests["sent_ns"][has_both], requests["end_ns"][has_both]


def _mean_until(sent: NDArray[np.int64], end: NDArray[np.int64], until_ns: int) -> float | None:
    window_ns = until_ns - int(sent.min())
    if window_ns <= 0:
        return None
    return float((np.minimum(end, until_ns) - sent).sum(dtype=np.float64)) / window_ns


def _highest(sent: NDArray[np.int64], end: NDArray[np.int64]) -> int:
    steps = np.concatenate(
        [np.full(len(end), -1), np.full(len(sent), 1)]
    )  # at one instant the end counts first
    order = np.argsort(np.concatenate([end, sent]), kind="stable")
    return max(int(np.cumsum(steps[order]).max()), 1)
