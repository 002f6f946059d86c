"""Figures of any result, each between two bounds: what was printed, with what its rounding leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vllmperf.metrics.entries import Entries
from vllmperf.numbers import brief, measured

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
    """Figures by their path in a summary, as spans. rounding: half the last digit of each, where it is known. entries: the
    single requests of the file, where it lists them."""

    def __init__(
        self,
        summary: Summary,
        rounding: Mapping[str, float] | None = None,
        entries: Entries | None = None,
    ) -> None:
        self.summary, self._rounding, self.entries = summary, rounding or {}, entries

    def raw(self, path: str) -> object:
        """What stands there, None where nothing does."""
        found: Any = self.summary
        rest = path
        while isinstance(found, Mapping) and rest:  # keys of statistics may hold a point: p99.9
            name, _, tail = (rest, "", "") if rest in found else rest.partition(".")
            found, rest = found.get(name), tail
        return None if rest else found

    def value(self, path: str) -> float | None:
        """As it was printed; None for what no figure can be: less than 0, no number, infinite."""
        found = measured(self.raw(path))
        return None if found is None or found < 0 else float(found)

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

EXACT = 5e-4
"""For figures that are equal, or one above the other, but for how they were computed."""
TPOT_TOLERANCE = 0.25
"""A mean over requests, each with the same weight: with answers of several lengths it may differ this much."""


def tokens_each(figures: Figures) -> Span | None:
    """Output tokens of a request in the mean."""
    found = figures.all("tokens.output", "requests.completed")
    return found[0] / found[1] if found and found[1].low > 0 and found[0].high > 0 else None


def after_first(figures: Figures) -> Span | None:
    """Tokens behind the first, a request in the mean."""
    each = tokens_each(figures)
    return None if each is None or each.high <= 1 else each - Span(1.0, 1.0)


def agree(a: Span, b: Span, tolerance: float) -> bool:
    """Whether some value of a is within a share of some value of b."""
    return a.low * (1 - tolerance) <= b.high and b.low * (1 - tolerance) <= a.high


def pair(a: Span, b: Span, tolerance: float, unit: str, meaning: str) -> Found:
    """Two figures that are one."""
    return agree(a, b, tolerance), f"{brief(a.middle, 4)}{unit}", f"{brief(b.middle, 4)}{unit}", meaning
