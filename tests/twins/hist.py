"""A log-linear histogram, slow and obvious: a dictionary from the lowest value of a bin to how many fell into it."""

import math
from collections import Counter
from collections.abc import Iterable

MANTISSA_BITS = 10


def lowest(value: int) -> int:
    """The lowest value of the same bin: all but the highest 11 bits are zero."""
    spare = max(0, value.bit_length() - MANTISSA_BITS - 1)
    return value >> spare << spare


def width(value: int) -> int:
    return 1 << max(0, value.bit_length() - MANTISSA_BITS - 1)


class Histogram:
    def __init__(self, values: Iterable[int]) -> None:
        self.values = sorted(max(0, value) for value in values)
        self.bins = Counter(map(lowest, self.values))

    def rank(self, rank: int) -> float:
        """The middle of the bin of the rank-th value, but the exact values at both ends and never beyond them."""
        low, high = self.values[0], self.values[-1]
        if rank == 0:
            return low
        if rank == len(self.values) - 1:
            return high
        start = lowest(self.values[rank])
        return min(max(start + (width(start) - 1) / 2, low), high)

    def quantile(self, q: float) -> float:
        at = (len(self.values) - 1) * q
        below = math.floor(at)
        a, b = self.rank(below), self.rank(math.ceil(at))
        return a + (b - a) * (at - below)
