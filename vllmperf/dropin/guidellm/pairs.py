"""Values of guidellm 0.7: `kind=NAME,key=value,…` or the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vllmperf.dropin.guidellm.values import Flag, as_text, dashed
from vllmperf.errors import UsageError

Pairs = dict[str, Any]


def read(flag: str, text: str) -> Pairs:
    """The pairs; a lone word is the kind. `a.b=1` is a key b within a. Raises UsageError by the flag's name."""
    if text.lstrip().startswith("{"):
        return _json(flag, text)
    if "=" not in text:
        return {"kind": text.strip()}
    found: Pairs = {}
    for key, value in _split(flag, text):
        _set(flag, found, key.split("."), value)
    return found


def _json(flag: str, text: str) -> Pairs:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"guidellm: {dashed(flag)} is no JSON ({error})") from None
    return dict(found)


def _split(flag: str, text: str) -> list[tuple[str, str]]:
    """A piece without = goes on with the one before it: `kind=concurrent,streams=1,4`."""
    found: list[tuple[str, str]] = []
    for piece in text.split(","):
        key, mark, value = piece.partition("=")
        if mark:
            found.append((key.strip().replace("-", "_"), value.strip().strip("[]")))
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]},{piece.strip().strip('[]')}")
        else:
            raise UsageError(
                f"guidellm: {dashed(flag)}: write kind=NAME,KEY=VALUE, with no comma before the first ="
            )
    return found


def _set(flag: str, found: Pairs, path: list[str], value: Any) -> None:
    for key in path[:-1]:
        found = mapping(flag, found.setdefault(key, {}), key)
    found[path[-1]] = value


def mapping(flag: str, value: Any, key: str) -> Pairs:
    """The value of a key, which must be an object; {} for None. Raises UsageError by the flag's name and the key."""
    if not isinstance(value, dict | None):
        raise UsageError(
            f"guidellm: {dashed(flag)}: {key} is no object; write {key}.NAME=VALUE, or all of it as JSON"
        )
    return {} if value is None else value


def value(flag: str, reader: Callable[[str], Any], given: Any) -> Any:
    """A value as its reader gives it. Raises UsageError by the flag's name."""
    return Flag(flag, reader, "").value(as_text(given))


def plain(value: Any) -> Any:
    """A text as the JSON that it is, where it is any: `0.6` is a number in the body of a request."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def kind_of(flag: str, pairs: Pairs, known: Iterable[str], advice: str = "") -> str:
    """Take the kind out. Raises UsageError when it is none of those known."""
    kind, names = str(pairs.pop("kind", "")), list(known)
    if kind not in names:
        raise UsageError(
            f"guidellm: {dashed(flag)}: kind {kind} is not here; there are {', '.join(names)}{advice}"
        )
    return kind


def only(flag: str, pairs: Pairs, known: Iterable[str], advice: str = "") -> None:
    """Raises UsageError for the first key that is none of those known."""
    names = list(known)
    unknown = next((name for name in pairs if name not in names), None)
    if unknown is not None:
        raise UsageError(
            f"guidellm: {dashed(flag)}: {unknown} is not here; there are {', '.join(names)}{advice}"
        )
