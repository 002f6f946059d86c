"""A table as it was found: its figures, and how far each was rounded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Printed:
    """A number as it stands there. half: it may be off by so much, by its last digit."""

    value: float
    half: float

    def __mul__(self, scale: float) -> Printed:
        return Printed(self.value * scale, self.half * scale)


def printed(text: str) -> Printed | None:
    """ "8.63" is 8.63 ± 0.005; None for what is no number."""
    text = text.strip()
    if not NUMBER.fullmatch(text):
        return None
    _, point, behind = text.partition(".")
    return Printed(float(text.replace(",", "")), 0.5 / 10 ** len(behind) if point else 0.5)


@dataclass(frozen=True, slots=True)
class Table:
    """line: where it begins, from 1. figures: by path in a summary; rows: of a metric, by its key and statistic. plan: what
    is known of the settings. remarks: what is wrong with the table whatever its numbers are."""

    line: int
    tool: str
    figures: Mapping[str, Printed]
    rows: Mapping[str, Mapping[str, Printed]]
    plan: Mapping[str, object] = field(default_factory=dict)
    remarks: Sequence[str] = ()
