"""What speaks against a fit, each in one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.regression import Floats, Regression
from vllmperf.model.slots import seen_slots
from vllmperf.model.steps import Steps

BENT_P, BENT_SIZE = 0.01, 0.01
"""A law is called bent when the test says so and a batch lies off by more than 1 % too."""
CONDITION = 30.0
FAR = 6.0
"""A measurement this many deviations off is an outlier."""
LEVER = 0.3
"""More than this share of the whole leverage at one batch: the line hangs on it."""
NAMED = 3
SIZES = ((8, "multiples of 8"), (4, "multiples of 4"), (16, "multiples of 16"), (32, "multiples of 32"))
SHARPER = 0.5


def fit_warnings(decode: Regression, batch: Floats, step_ms: Floats, count: Floats) -> list[str]:
    """batch, step_ms, count: the measurements that were fitted."""
    found = []
    if decode.condition > CONDITION:
        found.append(
            f"alpha and beta are hardly told apart (condition number {decode.condition:.0f}): "
            "add a run at a concurrency far from the others"
        )
    found += bent(decode, batch)
    if decode.values[1] <= 0:
        found.append("beta is not above 0: a larger batch did not make steps longer in these runs")
    return found + _outliers(decode, batch, step_ms, count) + _lever(decode, batch)


def bent(decode: Regression, batch: Floats) -> list[str]:
    """A sentence when the law is no straight line, else nothing."""
    worst, off = _bend(decode, batch)
    if decode.lack_of_fit_p is None or decode.lack_of_fit_p >= BENT_P or abs(off) <= BENT_SIZE:
        return []
    sizes = graph_sizes(decode, batch)
    why = f"steps go by {sizes}: graph sizes" if sizes else "graph sizes or a change of regime do that"
    return [
        f"the law is not a straight line (lack of fit p = {decode.lack_of_fit_p:.1g}): at batch {worst:g} "
        f"steps take {off:+.1%} of what it says; {why}"
    ]


def _bend(decode: Regression, batch: Floats) -> tuple[float, float]:
    """The batch whose mean lies furthest off the line, and by what share; batches with little weight left aside."""
    sizes, off, weight = _means(decode, batch)
    share = off / (decode.values[0] + decode.values[1] * sizes)
    clear = np.abs(off) * np.sqrt(weight) > 3
    worst = int(np.argmax(np.where(clear, np.abs(share), 0)))
    return float(sizes[worst]), float(share[worst])


def _means(decode: Regression, batch: Floats) -> tuple[Floats, Floats, Floats]:
    """Each batch, the weighted mean of its residuals, its weight."""
    sizes, place = np.unique(batch, return_inverse=True)
    weight = np.bincount(place, decode.weight)
    off = np.bincount(place, decode.weight * decode.residual) / weight
    return sizes, np.asarray(off, dtype=np.float64), np.asarray(weight, dtype=np.float64)


def graph_sizes(decode: Regression, batch: Floats) -> str | None:
    """The sizes that batches seem to be padded to: where a line over padded batches leaves half as much as one over
    the batches themselves."""
    sizes, off, weight = _means(decode, batch)
    mean = decode.values[0] + decode.values[1] * sizes + off
    if len(sizes) < 6:
        return None
    straight = _left(sizes, mean, weight)
    tried = {name: _left(np.ceil(sizes / step) * step, mean, weight) for step, name in SIZES}
    best = min(tried, key=lambda name: tried[name])
    return best if tried[best] < SHARPER**2 * straight else None


def _left(x: Floats, y: Floats, weight: Floats) -> float:
    design = np.stack([np.ones_like(x), x], axis=1)
    root = np.sqrt(weight)
    values = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    return float(np.sum(weight * (y - design @ values) ** 2))


def _outliers(decode: Regression, batch: Floats, step_ms: Floats, count: Floats) -> list[str]:
    """The measurements far off the line. They were weighed down, not left out."""
    scale = 1.4826 * np.median(np.abs(decode.residual) * np.sqrt(count)) / np.sqrt(count)
    off = np.abs(decode.residual) / np.maximum(scale, 1e-9 + 1e-4 * step_ms)
    far: NDArray[np.int64] = np.flatnonzero((off > FAR) & (np.abs(decode.residual) > 0.05 * step_ms))
    if len(far) == 0:
        return []
    worst = far[np.argsort(-np.abs(decode.residual[far]))][:NAMED]
    named = ", ".join(f"{step_ms[row]:.4g} ms at batch {batch[row]:g}" for row in worst)
    return [f"{len(far)} of {len(batch)} measurements lie far off and weigh little: {named}"]


def _lever(decode: Regression, batch: Floats) -> list[str]:
    sizes, place = np.unique(batch, return_inverse=True)
    share = np.bincount(place, decode.leverage) / decode.leverage.sum()
    # Of evenly placed sizes the outer ones hold up to half of it each; it is one that all hangs on that matters.
    top = int(np.argmax(share))
    if share[top] < 0.5 + LEVER / 2 or len(sizes) < 3:
        return []
    return [f"the slope hangs on batch {sizes[top]:g} ({share[top]:.0%} of the leverage): add a run near it"]


def held_up(runs: Sequence[Steps], wanted: int | None) -> list[str]:
    """Whether the server served fewer at once than were sent."""
    slots = seen_slots(runs)
    if slots is None or wanted is None or slots >= wanted:
        return []
    return [
        f"the server took no more than {slots} at once though {wanted} were sent: its --max-num-seqs is {slots}, "
        "or another client takes the rest"
    ]
