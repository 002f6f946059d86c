"""Weighted, robust least squares with intervals by a bootstrap over blocks of time.

Weights follow the two sources of scatter that a stretch of m steps has: that of its two ends, which shrinks as 1/m²,
and that of its steps, which shrinks as 1/m. Both are estimated from the residuals. Stretches far off (the machine
stood still) are weighed down by Huber's function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]

HUBER = 2.0
NORMAL = 1.96
ROUNDS = 8
DRAWS = 2000
LEAST_BLOCKS = 5
"""A run with fewer does not tell how well its mean is known."""


@dataclass(frozen=True)
class Regression:
    """values, low, high: float64 [p], the estimate and the ends of its 95 % interval; covariance [p, p], as wide as those
    (1.96 deviations): a band or a sizing made from it is, too.

    n: measurements, blocks: of time. weight: float64 [n], as used. residual: float64 [n].
    r2 is weighted. condition: of the scaled design; above about 100 the parameters cannot be told apart.
    lack_of_fit_p: None without repeats at one x.
    """

    values: Floats
    low: Floats
    high: Floats
    covariance: Floats
    n: int
    blocks: int
    dof: int
    r2: float
    condition: float
    weight: Floats
    residual: Floats
    leverage: Floats
    lack_of_fit_p: float | None


def fit(
    x: Floats,
    y: Floats,
    count: Floats,
    block: NDArray[np.int64],
    seed: int = 0,
    run: NDArray[np.int64] | None = None,
) -> Regression:
    """y = x @ values. x: [n, p]; y: [n]; count: steps behind each y; block: [n] ints. run: [n] ints, when the intervals
    shall grow by what whole runs differ beyond the scatter of their blocks (a machine that was busier in one).

    Raises ValueError with fewer measurements than parameters, or when the columns of x cannot be told apart.
    """
    n, p = x.shape
    if n <= p or np.linalg.matrix_rank(x) < p:
        raise ValueError(f"{n} measurements cannot tell {p} parameters apart")
    weight: Floats = count.astype(np.float64)
    for _ in range(ROUNDS):
        values = _solve(x, y, weight)
        weight = _weights(y - x @ values, count)
    values = _solve(x, y, weight)
    residual = y - x @ values
    draws = _bootstrap(x, y, weight, block, seed)
    wide = _widening(_blocks(block), p) * (1.0 if run is None else _between(residual, weight, block, run, p))
    covariance = np.cov(draws, rowvar=False).reshape(p, p) * (wide / NORMAL) ** 2
    half = NORMAL * np.sqrt(np.diag(covariance))
    return Regression(
        values=values,
        low=values - half,
        high=values + half,
        covariance=covariance,
        n=n,
        blocks=_blocks(block),
        dof=n - p,
        r2=_r2(y, residual, weight),
        condition=_condition(x, weight),
        weight=weight,
        residual=residual,
        leverage=_leverage(x, weight),
        lack_of_fit_p=_lack_of_fit(x, y, residual, weight),
    )


def _solve(x: Floats, y: Floats, weight: Floats) -> Floats:
    root = np.sqrt(weight)
    solution = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def _weights(residual: Floats, count: Floats) -> Floats:
    variance = _variance(residual, count)
    scaled = np.abs(residual) / np.sqrt(variance)
    weight: Floats = np.minimum(1.0, HUBER / np.maximum(scaled, 1e-12)) / variance
    return weight


def _variance(residual: Floats, count: Floats) -> Floats:
    """Of each mean: ends/m² + steps/m, by least squares of the squared residuals, far ones cut."""
    square: Floats = (residual * count) ** 2
    limit = (
        9.0 * np.median(square / count**2) / 0.455
    )  # nine times the variance that the median square stands for
    square = np.minimum(square, limit * count**2).astype(np.float64)
    design = np.stack([np.ones_like(count), count], axis=1)
    scale = 1.0 / (1.0 + count)
    parts, _ = optimize.nnls(design * scale[:, None], square * scale)
    least = 1e-12 + 1e-6 * float(np.mean(square / count**2))
    variance: Floats = np.maximum(parts[0] / count**2 + parts[1] / count, least)
    return variance


def _blocks(block: NDArray[np.int64]) -> int:
    return len(np.unique(block))


def _bootstrap(x: Floats, y: Floats, weight: Floats, block: NDArray[np.int64], seed: int) -> Floats:
    """[draws, p]: the fit to blocks drawn with replacement. Normal equations add up over blocks."""
    _, place = np.unique(block, return_inverse=True)
    total, p = int(place.max()) + 1, x.shape[1]
    left = np.zeros((total, p, p))
    right = np.zeros((total, p))
    np.add.at(left, place, weight[:, None, None] * x[:, :, None] * x[:, None, :])
    np.add.at(right, place, weight[:, None] * x * y[:, None])
    times = (
        np.random.default_rng(seed).multinomial(total, np.full(total, 1 / total), DRAWS).astype(np.float64)
    )
    sides = np.tensordot(times, left, 1), np.tensordot(times, right, 1)
    usable = np.linalg.cond(sides[0]) < 1e12
    solved: Floats = np.linalg.solve(sides[0][usable], sides[1][usable][:, :, None])[:, :, 0]
    return solved


def _widening(blocks: int, p: int) -> float:
    """What the spread of the draws is multiplied with for 95 %: Student's t with the blocks' degrees of freedom.
    Percentiles of the draws are too narrow with few blocks."""
    free = max(blocks - p, 1)
    return float(stats.t.ppf(0.975, free) * np.sqrt(blocks / free))


def _between(
    residual: Floats, weight: Floats, block: NDArray[np.int64], run: NDArray[np.int64], p: int
) -> float:
    """By how much the means of runs scatter more than their blocks say (Birge's ratio); 1 when they do not."""
    blocks, place = np.unique(block, return_inverse=True)
    mass = np.bincount(place, weight)
    mean = np.bincount(place, weight * residual) / mass
    owner = np.zeros(len(blocks), dtype=np.int64)
    owner[place] = run
    square, runs = 0.0, 0
    for one in np.unique(owner):
        rows = owner == one
        if rows.sum() < LEAST_BLOCKS:
            continue
        share = mass[rows] / mass[rows].sum()
        middle = float(share @ mean[rows])
        error = float(share**2 @ (mean[rows] - middle) ** 2) * rows.sum() / (rows.sum() - 1)
        square, runs = square + middle**2 / max(error, 1e-300), runs + 1
    return float(np.sqrt(max(square / (runs - p), 1.0))) if runs > p else 1.0


def _r2(y: Floats, residual: Floats, weight: Floats) -> float:
    mean = np.average(y, weights=weight)
    total = float(np.sum(weight * (y - mean) ** 2))
    return 1.0 - float(np.sum(weight * residual**2)) / total if total > 0 else float("nan")


def _condition(x: Floats, weight: Floats) -> float:
    scaled = x * np.sqrt(weight)[:, None]
    return float(np.linalg.cond(scaled / np.linalg.norm(scaled, axis=0)))


def _leverage(x: Floats, weight: Floats) -> Floats:
    q, _ = np.linalg.qr(x * np.sqrt(weight)[:, None])
    diagonal: Floats = np.sum(q**2, axis=1)
    return diagonal


def _lack_of_fit(x: Floats, y: Floats, residual: Floats, weight: Floats) -> float | None:
    """F test of the means at each x against the law, with the scatter around those means as error."""
    rows, place = np.unique(x, axis=0, return_inverse=True)
    place = place.reshape(-1)
    n, groups, p = len(y), len(rows), x.shape[1]
    if groups <= p or n <= groups:
        return None
    mean = np.bincount(place, weight * y) / np.bincount(place, weight)
    pure = float(np.sum(weight * (y - mean[place]) ** 2))
    lack = float(np.sum(weight * residual**2)) - pure
    if pure <= 0:
        return None
    return float(stats.f.sf(max(lack, 0.0) / (groups - p) / (pure / (n - groups)), groups - p, n - groups))
