"""Readers of single values: from the text of a flag to its value. ValueError says what to give."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vllmperf.errors import UsageError


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: how its text is read (None: a switch), its help, its other names, whether it may come again."""

    name: str
    read: Callable[[str], Any] | None
    help: str
    also: tuple[str, ...] = ()
    repeated: bool = False

    def value(self, text: str) -> Any:
        """Read a text. Raises UsageError by the flag's name."""
        try:
            return is_on(text) if self.read is None else self.read(text)
        except ValueError as error:
            raise UsageError(
                f"guidellm: {dashed(self.name)} is {shown(self.name, text)}: give {error}"
            ) from None


SECRET = ("backend", "backend_args", "openai", "openai__headers")
"""Flags and variables that may hold a key: their text is in no message."""


def shown(name: str, text: str) -> str:
    return "no such thing" if name in SECRET else repr(text)


def dashed(name: str) -> str:
    return "--" + name.replace("_", "-")


def is_on(text: str) -> bool:
    return text.lower() in ("1", "true", "yes", "on", "t", "y")


def as_text(value: Any) -> str:
    """A value of a file as it would stand on the command line."""
    if isinstance(value, list) and not any(isinstance(entry, dict | list) for entry in value):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def number(text: str, what: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not 0 < found < float("inf"):
        raise ValueError(what)
    return found


def seconds(text: str) -> float:
    return number(text, "a number of seconds above 0")


def share(text: str) -> float:
    found = number(text, "a share above 0, up to 1")
    if found > 1:
        raise ValueError("a share above 0, up to 1")
    return found


def rates(text: str) -> tuple[float, ...]:
    what = "a number above 0, or several with commas between"
    return tuple(number(piece, what) for piece in text.strip("[] ").split(","))


def whole(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError("a whole number above 0")
    return int(text)


def count(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError("a whole number from 0 on")
    return int(text)


def seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError('JSON, like {"name": "value"}')
    return found


def choice(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(
                "one of " + ", ".join(known) if len(known) > 1 else f"{known[0]}, nothing else is here"
            )
        return text

    return read
