"""Values of axes in the settings of a set-up: {name} in its texts. Other braces stay, as JSON has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from vllmperf.errors import SettingError
from vllmperf.plan.part import Part

P = TypeVar("P", bound=Part)


def filled(part: P, values: Mapping[str, Any]) -> P:
    """The same with {name} replaced by its value, in texts, lists and mappings. `port` alone may be unused.

    Raises SettingError for a value that has no place.
    """
    own = {each.name: getattr(part, each.name) for each in dataclasses.fields(part)}
    for name in values:
        if name != "port" and not any(_has(value, "{" + name + "}") for value in own.values()):
            raise SettingError(
                "{axes} has {axis}: write {place} where its value goes", axis=name, place="{" + name + "}"
            )
    return type(part)(**{name: _filled(value, values) for name, value in own.items()})


def _has(value: object, place: str) -> bool:
    if isinstance(value, str):
        return place in value
    if isinstance(value, Mapping):
        return any(_has(one, place) for one in value.values())
    return isinstance(value, tuple | list) and any(_has(one, place) for one in value)


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        for name, one in values.items():
            value = value.replace("{" + name + "}", str(one))
        return value
    if isinstance(value, Mapping):
        return {name: _filled(one, values) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_filled(one, values) for one in value]
    return value
