"""Quantiles and tails of Student's t, F, the binomial and order statistics, without SciPy.

All of them are values of the regularized incomplete beta function, which `beta` computes by its continued fraction to about
twelve digits. Pure Python: fit for hundreds of calls, not for arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

TINY = 1e-300
DIGITS = 1e-14
CLOSE = 1e-10
"""A probability so near to the one that is looked for is it."""
EDGE = 1e-9
"""Levels of a sample begin and end so near to 0 and 1."""
MOST_SECANTS = 12
"""Four or five do unless a percentile has hardly any value on its rarer side."""
NORMAL_FROM = 300.0
"""Effective values on the rarer side of a percentile from which the binomial is close enough to its normal expansion."""


def beta(a: float, b: float, x: float) -> float:
    """The probability that a Beta(a, b) variable is at most x: the regularized incomplete beta function."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _continued_fraction(a, b, x) / a
    return 1.0 - math.exp(log_front) * _continued_fraction(b, a, 1.0 - x) / b


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Lentz's method (Numerical Recipes, section 6.4); it takes about sqrt(max(a, b)) rounds."""
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1) or TINY)
    found = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for part in (even, odd):
            d = 1.0 / (1.0 + part * d or TINY)
            c = 1.0 + part / c or TINY
            found *= d * c
        if abs(d * c - 1.0) < DIGITS:
            break
    return found


def normal(probability: float) -> float:
    """The quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(probability)


@lru_cache(maxsize=1024)
def student_t(probability: float, degrees: float) -> float:
    """The quantile (above 0.5) of Student's t."""
    low, high = 0.0, 1.0
    while student_tail(high, degrees) > 1 - probability:
        low, high = high, high * 2
    return _root(lambda t: 1 - probability - student_tail(t, degrees), low, high)


def student_tail(t: float, degrees: float) -> float:
    """The probability that Student's t exceeds t, t at least 0."""
    return beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2


def f_tail(f: float, degrees: float, below: float) -> float:
    """The probability that F with so many degrees of freedom above and below the line exceeds f."""
    return beta(below / 2, degrees / 2, below / (below + degrees * max(f, 0.0)))


def binomial_at_most(k: int, n: int, share: float) -> float:
    """The probability of at most k successes in n trials with that share of successes."""
    return 1.0 if k >= n else beta(n - k, k + 1, 1 - share)


@lru_cache(maxsize=1024)
def order_levels(share: float, n: float, probability: float) -> tuple[float, float]:
    """Levels (0 to 1) of a sample between which the share-quantile of its distribution lies with that probability.

    n: independent values, not necessarily a whole number; a level of r / (n + 1) stands for the r-th smallest of them, and
    levels below 1 / (n + 1) or above n / (n + 1) for none. The r-th smallest of n uniform values is Beta(r, n + 1 − r); the
    lower level is the r whose value is below `share` with (1 + probability) / 2 (David and Nagaraja 2003, section 7.1).
    """
    above = (1 + probability) / 2
    z = normal(above)
    half, shift = z * math.sqrt(share * (1 - share) / n), (1 - 2 * share) * (z * z + 2) / (6 * n)
    low, high = share - half + shift, share + half + shift
    if n * min(share, 1 - share) >= NORMAL_FROM:
        return low, high

    def at_most_share(level: float) -> float:
        return beta(level * (n + 1), (1 - level) * (n + 1), share)

    slope = z * NormalDist().pdf(z) / half
    return (
        _root_near(lambda level: above - at_most_share(level), EDGE, share, low, slope),
        _root_near(lambda level: 1 - above - at_most_share(level), share, 1 - EDGE, high, slope),
    )


def _root_near(
    function: Callable[[float], float], low: float, high: float, near: float, slope: float
) -> float:
    """The same as _root(), by secants from a place and a slope that are nearly those of the root."""
    before = step = 0.0
    for _ in range(MOST_SECANTS):
        if not low < near < high:
            break
        value = function(near)
        if abs(value) < CLOSE:
            return near
        slope = (value - before) / step if step else slope
        if slope <= 0:
            break
        before, step = value, -value / slope
        near += step
    return _root(function, low, high)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0, by bisection and secants (the Illinois rule); the nearer end when it is nowhere."""
    at_low, at_high = function(low), function(high)
    if at_low >= 0 or at_high <= 0:
        return low if at_low >= 0 else high
    side = 0
    middle = low
    for _ in range(200):
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        value = function(middle)
        if abs(value) < CLOSE or high - low < 1e-12 * max(abs(high), 1e-9):
            break
        if value > 0:
            high, at_high = middle, value
            at_low *= 0.5 if side > 0 else 1.0
            side = 1
        else:
            low, at_low = middle, value
            at_high *= 0.5 if side < 0 else 1.0
            side = -1
    return middle


@lru_cache(maxsize=1024)
def share_bounds(share: float, n: float, probability: float) -> tuple[float, float]:
    """Between which shares the true one lies when n independent values, not necessarily a whole number, show `share` (Jeffreys'
    interval: Brown, Cai and DasGupta 2001); 0 and 1 are their own bounds when all or none are."""
    a, b = n * share + 0.5, n * (1 - share) + 0.5
    below = (1 - probability) / 2
    low = 0.0 if share <= 0 else _root(lambda x: beta(a, b, x) - below, 0.0, 1.0)
    high = 1.0 if share >= 1 else _root(lambda x: beta(a, b, x) - 1 + below, 0.0, 1.0)
    return low, high
