"""What tokens cost: a replica's GPUs and their price over the tokens that it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HOUR_S = 3600.0
MILLION = 1e6


@dataclass(frozen=True)
class Cost:
    """Of one replica at one rate. price: of a GPU for an hour, in any money; None: not given.

    The lower end of a capacity's interval gives the higher cost."""

    gpus: int
    price: float | None
    output_tokens_per_s: float
    input_tokens_per_s: float

    @property
    def output_tokens_per_s_per_gpu(self) -> float:
        return self.output_tokens_per_s / self.gpus

    @property
    def per_million_output_tokens(self) -> float | None:
        return self._per_million(self.output_tokens_per_s)

    @property
    def per_million_tokens(self) -> float | None:
        """Prompts counted, too."""
        return self._per_million(self.output_tokens_per_s + self.input_tokens_per_s)

    def _per_million(self, tokens_per_s: float) -> float | None:
        if self.price is None or tokens_per_s <= 0:
            return None
        return self.price * self.gpus / HOUR_S / tokens_per_s * MILLION

    def scaled(self, factor: float) -> Cost:
        """At another rate of the same requests."""
        return Cost(
            self.gpus, self.price, self.output_tokens_per_s * factor, self.input_tokens_per_s * factor
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "output_tokens_per_s_per_gpu": self.output_tokens_per_s_per_gpu,
            "per_million_output_tokens": self.per_million_output_tokens,
            "per_million_tokens": self.per_million_tokens,
        }
