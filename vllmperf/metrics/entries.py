"""The single requests that a result lists beside its figures, counted again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Recount:
    """A figure as the single requests give it. half: what their rounding leaves open, either way."""

    value: float
    half: float


@dataclass(frozen=True, slots=True)
class Entries:
    """lengths: of each array. completed: entries of completed requests, None where nothing says which they are. recounts: by path
    in the summary. bad: arrays that hold what is no number."""

    lengths: Mapping[str, int]
    completed: int | None
    recounts: Mapping[str, Recount] = field(default_factory=dict)
    bad: tuple[str, ...] = ()
