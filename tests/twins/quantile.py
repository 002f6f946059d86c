"""Quantiles and moments, slow and obvious: sorting, exact fractions."""

import math
from collections.abc import Sequence
from fractions import Fraction


def quantile(values: Sequence[float], q: float) -> float:
    """NumPy's default rule, in its order of operations. NaN for no values and when one is NaN."""
    if len(values) == 0 or any(map(math.isnan, values)):
        return math.nan
    ordered = sorted(values)
    at = (len(ordered) - 1) * q
    below = math.floor(at)
    a, b = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    t = at - below
    return b - (b - a) * (1 - t) if t >= 0.5 else a + (b - a) * t


def moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and population variance, each rounded once."""
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    return float(mean), float(sum((value - mean) ** 2 for value in exact) / len(exact))
