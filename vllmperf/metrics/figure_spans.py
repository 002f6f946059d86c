"""Figures of any result, each between two bounds: what was printed, with what its rounding leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Summary = Mapping[str, Any]
TIMES = ("e2el_ms", "ttft_ms", "tpot_ms", "itl_ms")


@dataclass(frozen=True, slots=True)
class Span:
    """A figure between two bounds, both at least 0."""

    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Span) -> Span:
        return Span(max(self.low - other.high, 0.0), max(self.high - other.low, 0.0))

    def __mul__(self, other: Span) -> Span:
        return Span(self.low * other.low, self.high * other.high)

    def __truediv__(self, other: Span) -> Span:
        return Span(self.low / max(other.high, 1e-12), self.high / max(other.low, 1e-12))

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


class Figures:
    """Figures by their path in a summary, as spans. rounding: half the last digit of each, where it is known."""

    def __init__(self, summary: Summary, rounding: Mapping[str, float] | None = None) -> None:
        self.summary, self._rounding = summary, rounding or {}

    def value(self, path: str) -> float | None:
        """As it was printed."""
        found: Any = self.summary
        rest = path
        while found is not None and rest:  # keys of statistics may hold a point: p99.9
            name, _, tail = (rest, "", "") if rest in found else rest.partition(".")
            found, rest = found.get(name), tail
        if isinstance(found, bool) or not isinstance(found, int | float) or found < 0:
            return None
        return float(found)

    def __call__(self, path: str) -> Span | None:
        found = self.value(path)
        if found is None:
            return None
        half = self._rounding.get(path, 0.0)
        return Span(max(found - half, 0.0), found + half)

    def all(self, *paths: str) -> tuple[Span, ...] | None:
        """All of them, or None where one is missing."""
        found = [self(path) for path in paths]
        return tuple(span for span in found if span is not None) if None not in found else None

    def plan(self, name: str) -> float | None:
        value = self.summary["plan"].get(name)
        return float(value) if isinstance(value, int | float) else None


DOUBT: Literal["doubt"] = "doubt"
Found = tuple[bool | Literal["doubt"], str, str, str]
"""Holds (or DOUBT: it does not, and may), left side, right side, what it means where it does not."""
