"""Where no law can be had: a falling curve through the goodput of all windows, and where it crosses the goal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

WINDOWS = 8
DRAWS = 200
Windows = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def curve_capacity(
    steps: Sequence[tuple[float, NDArray[np.bool_], NDArray[np.int64]]], share: float, seed: int = 0
) -> tuple[float, float, float]:
    """(rate, low, high) where logit(goodput) = a − b·ln(rate) gives `share`; steps: rate, kept, scheduled_ns."""
    windows = _windows(steps)
    rng = np.random.default_rng(seed)
    count = len(windows[0])
    drawn = []
    for _ in range(DRAWS):
        rows = rng.integers(0, count, count)
        drawn.append(_crossing((windows[0][rows], windows[1][rows], windows[2][rows]), share))
    best = _crossing(windows, share)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return best, float(min(low, best)), float(max(high, best))


def _windows(steps: Sequence[tuple[float, NDArray[np.bool_], NDArray[np.int64]]]) -> Windows:
    """ln(rate), requests, kept requests of each window."""
    rates, totals, kepts = [], [], []
    for rate, kept, scheduled in steps:
        order = np.argsort(scheduled, kind="stable")
        for part in np.array_split(kept[order], WINDOWS):
            if len(part):
                rates.append(np.log(rate))
                totals.append(len(part))
                kepts.append(int(part.sum()))
    return np.array(rates), np.array(totals, dtype=np.float64), np.array(kepts, dtype=np.float64)


def _crossing(windows: Windows, share: float) -> float:
    """By likelihood, each window's requests counted as one (they fail together); the slope is kept above 5 and below
    200, so that a clean gap between good and bad rates has an answer in its middle."""
    x, total, kept = windows
    part = kept / total

    def loss(theta: NDArray[np.float64]) -> float:
        middle, slope = theta[0], np.exp(theta[1])
        z = -slope * (x - middle)
        return float(-np.sum(part * -np.logaddexp(0, -z) + (1 - part) * -np.logaddexp(0, z)))

    start = np.array([float(np.average(x, weights=0.1 + part)), np.log(20.0)])
    bounds = [(float(x.min()) - 1, float(x.max()) + 1), (np.log(5.0), np.log(200.0))]
    found = optimize.minimize(loss, start, bounds=bounds, method="L-BFGS-B").x
    return float(np.exp(found[0] - np.log(share / (1 - share)) / np.exp(found[1])))
