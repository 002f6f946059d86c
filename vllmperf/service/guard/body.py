"""The JSON of a request, within limits that hold before anything looks at what it says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from vllmperf.service.errors import RefusedError
from vllmperf.service.guard.settings import Limits
from vllmperf.sweeps.axes import ZIP

TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


def parsed(raw: bytes, limits: Limits) -> Any:
    """The value. Raises RefusedError for what is no JSON in UTF-8, is nested too deeply, names a field twice, or holds what JSON
    has no word for (NaN, half of a surrogate pair)."""
    _check_depth(raw, limits.json_depth)
    try:
        text = raw.decode("utf-8")
        found = json.loads(text, parse_constant=_no_number, object_pairs_hook=_object)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeDecodeError as error:
        raise RefusedError(400, f"the body is no JSON: byte {error.start} is no UTF-8") from None
    except UnicodeEncodeError:
        raise RefusedError(400, "the body holds half of a surrogate pair (\\ud800 to \\udfff)") from None
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is no JSON: {error}") from None
    return found


def _check_depth(raw: bytes, most: int) -> None:
    depth = 0
    for match in TOKENS.finditer(raw):
        mark = match[0][:1]
        depth += (mark in b"[{") - (mark in b"]}")
        if depth > most:
            raise RefusedError(400, f"the body is no JSON: it is nested more than {most} levels deep")


def _no_number(word: str) -> NoReturn:
    hint = ': "inf" in quotes is endless' if "Infinity" in word else ""
    raise ValueError(f"{word} is no number of JSON{hint}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]!r} is given twice")
    return found


# ---- before a sweep is written out ----


def check_combinations(body: Any, limits: Limits) -> None:
    """A short sweep may stand for more runs than there is memory for. Raises RefusedError."""
    sweep = body.get("sweep") if isinstance(body, Mapping) else None
    if not isinstance(sweep, Mapping):
        return
    setups = sweep.get("setups")
    listed = setups if isinstance(setups, list) else []
    points = sweep.get("points")
    loads = len(points) if isinstance(points, list) else _combinations(sweep)
    repeat = sweep.get("repeat")
    repeats = repeat if isinstance(repeat, int) and repeat > 0 else 1
    n = sum(_combinations(one) for one in listed if isinstance(one, Mapping)) * loads * repeats
    if n > limits.points:
        raise RefusedError(400, f"the sweep has {n} runs: at most {limits.points} are allowed", "axes")


def _combinations(of: Mapping[str, Any]) -> int:
    axes = of.get("axes")
    if not isinstance(axes, Mapping):
        return 1
    lengths = [len(values) if isinstance(values, list) else 1 for values in axes.values()]
    return max(lengths, default=1) if of.get("combine") == ZIP else math.prod(lengths)
