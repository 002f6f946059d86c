"""Where no law can be had: a falling curve through the goodput of all windows, and where it crosses the goal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WINDOWS = 8
DRAWS = 200
SLOPES = np.geomspace(5, 200, 24)
"""Kept within these bounds, so that a clean gap between good and bad rates has an answer in its middle."""
MIDDLES = 1500
LIKELY = 1.92
"""Loss of log-likelihood within which a curve lies in the 95 % interval."""
ASIDE = 0.7
"""How far beyond the rates that were tried, as a logarithm, the middle is looked for."""


def curve_capacity(
    steps: Sequence[tuple[float, NDArray[np.bool_], NDArray[np.int64]]], share: float, seed: int = 0
) -> tuple[float, float, float]:
    """(rate, low, high) where logit(goodput) = a − b·ln(rate) gives `share`; steps: rate, kept, scheduled_ns."""
    rates, kept = _windows(steps)
    crossings, loss = _curves(rates, kept, share)
    rng = np.random.default_rng(seed)
    count = len(rates)
    times = rng.multinomial(count, np.full(count, 1 / count), DRAWS)  # how often each window is drawn
    whole = loss.sum(axis=0)
    best = float(crossings[np.argmin(whole)])
    low, high = np.quantile(crossings[np.argmin(times @ loss, axis=1)], [0.025, 0.975])
    # Between a good rate and a bad one that lie apart all curves are alike, and so are those of all draws.
    alike = crossings[whole <= whole.min() + LIKELY]
    return best, float(min(low, alike.min())), float(max(high, alike.max()))


def _windows(
    steps: Sequence[tuple[float, NDArray[np.bool_], NDArray[np.int64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ln(rate) and share of kept requests of each window."""
    rates, shares = [], []
    for rate, kept, scheduled in steps:
        order = np.argsort(scheduled, kind="stable")
        for part in np.array_split(kept[order], WINDOWS):
            if len(part):
                rates.append(np.log(rate))
                shares.append(part.mean())
    return np.array(rates), np.array(shares, dtype=np.float64)


def _curves(
    rates: NDArray[np.float64], kept: NDArray[np.float64], share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of all curves of a grid: where each crosses the goal [curve], and what each window's likelihood costs it
    [window, curve]. A window counts as one request, as its requests fail together."""
    middle = np.linspace(rates.min() - ASIDE, rates.max() + ASIDE, MIDDLES)
    middles, slopes = (one.ravel() for one in np.meshgrid(middle, SLOPES))
    z = -slopes * (rates[:, None] - middles)
    loss = kept[:, None] * np.logaddexp(0, -z) + (1 - kept[:, None]) * np.logaddexp(0, z)
    return np.exp(middles - np.log(share / (1 - share)) / slopes), loss
