"""A JSON object as a value: it does not change, can be hashed, and is equal to what is written alike."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any


class JsonObject(Mapping[str, Any]):
    """A mapping that holds what JSON can hold. Reading it gives copies.

    Two are equal when their JSON is: 1, 1.0 and true differ, and so does the order of names, since a server sees them.
    Raises TypeError or ValueError for what is no JSON object.
    """

    __slots__ = ("_text",)

    def __init__(self, members: Mapping[str, Any] | None = None) -> None:
        found = dict(members or {})
        if not all(isinstance(name, str) for name in found):
            raise TypeError("names are strings")
        self._text = json.dumps(found, separators=(",", ":"), allow_nan=False, default=_plain)

    def to_dict(self) -> dict[str, Any]:
        """A dict of one's own."""
        members: dict[str, Any] = json.loads(self._text)
        return members

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())

    def __bool__(self) -> bool:
        return self._text != "{}"

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JsonObject):
            return self._text == other._text
        return self.to_dict() == other

    def __repr__(self) -> str:
        return repr(self.to_dict())


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
