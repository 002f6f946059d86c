"""Python's and NumPy's generators, as the originals seed and use them."""

from __future__ import annotations

import random


class Chance:
    """Both global generators, but of this run alone."""

    def __init__(self, seed: int) -> None:
        import numpy as np

        self.python = random.Random(seed)
        self.numpy = np.random.RandomState(seed)

    def seed(self, seed: int) -> None:
        """Begin both anew."""
        self.python.seed(seed)
        self.numpy.seed(seed)
