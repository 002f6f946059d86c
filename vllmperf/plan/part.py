"""A part of a plan: a few settings of one subject, checked when it is made."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from vllmperf.plan.json_object import JsonObject


class Part:
    """Base of frozen dataclasses whose fields were made by checks.setting()."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if value is not None or not each.metadata["or_none"]:
                object.__setattr__(self, each.name, each.metadata["check"](each.name, value))
        self.check()

    def check(self) -> None:
        """Raise SettingError for settings that do not go together."""

    def to_dict(self) -> dict[str, Any]:
        """Every setting, as JSON has it."""
        return {name: jsonable(getattr(self, name)) for name in names(type(self))}


def names(part: type[Part]) -> tuple[str, ...]:
    """The settings of a part, in order."""
    return tuple(each.name for each in dataclasses.fields(part))


def jsonable(value: Any) -> Any:
    """The value of a setting in strict JSON: infinity is "inf"."""
    if isinstance(value, JsonObject):
        return value.to_dict()
    if isinstance(value, tuple):
        return [jsonable(item) for item in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value
