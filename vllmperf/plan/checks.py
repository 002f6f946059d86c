"""What a setting accepts: each check takes the name and what was given, and gives the value to keep.

A value of another kind, or out of bounds, is a SettingError that names the setting, what it must be, and what it was.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from vllmperf.errors import SettingError
from vllmperf.plan.json_object import JsonObject

MOST = 1e9
"""No number of seconds, requests or tokens lies above it."""
UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

Check = Callable[[str, Any], Any]


def setting(default: Any, check: Check, *, or_none: bool = False) -> Any:
    """A field of a dataclass whose values go through `check`; None is kept where it is the default, or with or_none."""
    metadata = {"check": check, "or_none": or_none or default is None}
    return dataclasses.field(default=default, metadata=metadata)


def refused(name: str, wanted: str, given: object) -> SettingError:
    """load.max_concurrency must be a whole number (got "x")"""
    return SettingError("{" + name + "} must be {wanted} (got {given})", wanted=wanted, given=shown(given))


def shown(value: object) -> str:
    """As JSON writes it, cut at 80 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# ---- numbers ----


def whole(least: int = 1, most: int = int(MOST)) -> Check:
    """A whole number within bounds. 4.0 is one, True is none."""

    def check(name: str, value: Any) -> int:
        if not _is_number(value) or value != math.floor(value):
            raise refused(name, "a whole number", value)
        return int(_within(name, value, least, most))

    return check


def number(
    *, above: float | None = None, least: float = -MOST, most: float = MOST, endless: bool = False
) -> Check:
    """A number above one bound or within two. endless: so is infinity, "inf" in JSON."""

    def check(name: str, value: Any) -> float:
        if endless and value in ("inf", math.inf):
            return math.inf
        if not _is_number(value):
            raise refused(name, "a number", value)
        if above is not None and value <= above:
            raise refused(name, f"above {above:g}", value)
        if endless and value > most:
            raise refused(name, f"at most {most:g}, or inf", value)
        return float(_within(name, value, least, most))

    return check


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _within(name: str, value: float, least: float, most: float) -> float:
    if value < least:
        raise refused(name, f"at least {least:g}", _plain(value))
    if value > most:
        raise refused(name, f"at most {most:g}", _plain(value))
    return value


def _plain(value: float) -> float:
    return int(value) if value == math.floor(value) else float(value)


def seconds(*, zero: bool = False, least: float = 0.0) -> Check:
    """A number of seconds, or a text like 500ms, 30s, 10m or 1h30m. least: the shortest; zero: 0 is one."""
    bound = number(least=least) if zero or least else number(above=0.0)

    def check(name: str, value: Any) -> float:
        found = seconds_of(value) if isinstance(value, str) else value
        if found is None:
            raise refused(name, "a duration like 500ms, 30s, 10m or 1h30m", value)
        return float(bound(name, found))

    return check


def seconds_of(text: str) -> float | None:
    """30, 30s, 500ms, 1.5m, 1h30m; None for what is no duration."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text)
    if not parts or "".join(digits + unit for digits, unit in parts) != text:
        return None
    return sum(float(digits) * UNITS_S[unit] for digits, unit in parts)


# ---- the rest ----


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise refused(name, "true or false", value)
    return value


def text(name: str, value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise refused(name, "a text", value)
    return value


def path(name: str, value: Any) -> str:
    """A path, kept as text."""
    return text(name, os.fspath(value) if isinstance(value, os.PathLike) else value)


def header_name(name: str, value: Any) -> str:
    """A name that a header can have."""
    if not HEADER_NAME.fullmatch(text(name, value)):
        raise refused(name, "the name of a header, like x-session-id", value)
    return str(value)


def plain_text(name: str, value: Any) -> str:
    """A string that a header can carry."""
    if not is_plain(text(name, value)):
        raise refused(name, "printable ASCII", value)
    return str(value)


def is_plain(value: str) -> bool:
    """Printable ASCII."""
    return value.isascii() and value.isprintable()


def one_of(*known: str) -> Check:
    """One of a few words."""

    def check(name: str, value: Any) -> str:
        if value not in known:
            raise refused(name, f"one of {', '.join(known)}", value)
        return str(value)

    return check


def json_object(name: str, value: Any) -> JsonObject:
    """A mapping of what JSON can hold."""
    if not isinstance(value, Mapping):
        raise refused(name, "an object", value)
    try:
        return value if isinstance(value, JsonObject) else JsonObject(value)
    except (TypeError, ValueError) as error:
        raise SettingError("{" + name + "} must hold JSON only: {error}", error=error) from None


def header_fields(name: str, value: Any) -> JsonObject:
    """Names and values that HTTP can carry. The error has no value in it: it may be a secret."""
    found = json_object(name, value)
    for header, content in found.items():
        if not HEADER_NAME.fullmatch(header) or not isinstance(content, str) or not is_plain(content):
            raise SettingError(
                "{" + name + "}: a header is NAME=VALUE without line breaks, in ASCII (got {header})",
                header=shown(header),
            )
    return found
