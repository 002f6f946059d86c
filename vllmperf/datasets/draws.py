"""Draws of whole numbers where it does not matter whose generator they come from."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Integers(Protocol):
    """What numpy.random.Generator and Draws have in common."""

    def integers(self, low: int, high: int, /, *, size: int) -> NDArray[Any]: ...


class Draws:
    """By Python's own generator: numpy.random takes 10 ms of each start to import."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def integers(self, low: int, high: int, /, *, size: int) -> NDArray[np.int64]:
        """So many numbers from low to high - 1, evenly."""
        import numpy as np

        if high - low == 1:
            return np.full(size, low)
        draw, span = self._random, high - low
        return np.fromiter((low + int(draw() * span) for _ in range(size)), dtype=np.int64, count=size)
