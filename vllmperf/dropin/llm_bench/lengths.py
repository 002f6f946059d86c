"""How many tokens a request asks for: constant, uniform, exponential or normal, as llm_bench draws them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from vllmperf.errors import UsageError

TRIES = 1000


@dataclass(frozen=True)
class Lengths:
    """A distribution around `mean`; `width` is its half width, or its standard deviation, as a share of the mean."""

    distribution: str
    mean: int
    cap: int | None
    width: float

    def sample(self, generator: random.Random) -> int:
        """A length above 0 and up to the cap. UsageError when the distribution has none."""
        if self.mean == 0:
            return 0
        for _ in range(TRIES):
            length = self._draw(generator)
            if length > 0 and (self.cap is None or length <= self.cap):
                return length
        raise UsageError(
            f"--max-tokens {self}: no length was found in {TRIES} draws, change the distribution"
        )

    def _draw(self, generator: random.Random) -> int:
        if self.distribution == "uniform":
            half = int(self.width * self.mean)
            most = self.mean + half if self.cap is None else min(self.mean + half, self.cap)
            least = max(1, self.mean - half)
            return generator.randint(least, most) if least <= most else 0
        if self.distribution == "exponential":
            return int(generator.expovariate(1 / self.mean))
        if self.distribution == "normal":
            return int(generator.gauss(self.mean, self.mean * self.width))
        return self.mean

    def __str__(self) -> str:
        half = int(self.mean * self.width)
        forms = {
            "constant": f"{self.mean}",
            "uniform": f"uniform({self.mean} +/- {half})",
            "normal": f"normal({self.mean}, {half})",
            "exponential": f"exponential({self.mean})",
        }
        return forms[self.distribution] + ("" if self.cap is None else f" capped at {self.cap}")
