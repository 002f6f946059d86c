"""Axes: names with the values that each takes in turn, and how they go together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from vllmperf.errors import SettingError
from vllmperf.plan import checks
from vllmperf.plan.checks import refused

GRID, ZIP = "grid", "zip"
COMBINE = (GRID, ZIP)

Values = dict[str, Any]


def combinations(where: str, axes: object, combine: object = GRID) -> list[Values]:
    """Each value of each axis with each of the others (grid), or the first values together, then the second ones (zip).

    >>> combinations("axes", {"a": [1, 2], "b": [3, 4]}, "zip")
    [{'a': 1, 'b': 3}, {'a': 2, 'b': 4}]

    No axes are one combination without values. Raises SettingError.
    """
    found = _axes(where, axes)
    how = checks.one_of(*COMBINE)("combine", combine)
    if how == ZIP and len({len(values) for values in found.values()}) > 1:
        lengths = ", ".join(f"{name} {len(values)}" for name, values in found.items())
        raise SettingError("{combine} zip needs axes of one length ({lengths})", lengths=lengths)
    rows = zip(*found.values(), strict=True) if how == ZIP else itertools.product(*found.values())
    return [dict(zip(found, row, strict=True)) for row in rows] if found else [{}]


def listed(where: str, given: object) -> list[Values]:
    """A list of combinations as they were written."""
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise refused(where, "a list of settings", given)
    if wrong := next((one for one in given if not isinstance(one, Mapping)), None):
        raise refused(where, "a list of settings", wrong)
    return [dict(one) for one in given]


def label(values: Mapping[str, Any]) -> str:
    """request_rate=4 output_len=64"""
    return " ".join(f"{name}={_brief(value)}" for name, value in values.items())


def _axes(where: str, axes: object) -> dict[str, list[Any]]:
    if not isinstance(axes, Mapping):
        raise refused(where, "an object of lists", axes)
    for name, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise SettingError(
                "{where} {axis} must be a list of values (got {given})",
                where=where,
                axis=name,
                given=checks.shown(values),
            )
    return {str(name): list(values) for name, values in axes.items()}


def _brief(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
