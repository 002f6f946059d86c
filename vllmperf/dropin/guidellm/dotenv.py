"""The file .env, from which guidellm takes GUIDELLM__… variables too; those of the environment go before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vllmperf import text_file
from vllmperf.errors import UsageError

ENTRY = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?(?P<name>[^\s=#'"]+)[ \t]*=[ \t]*
    (?:'(?P<single>(?:\\.|[^'\\])*)'|"(?P<double>(?:\\.|[^"\\])*)"|(?P<bare>[^\r\n]*))""",
    re.MULTILINE | re.VERBOSE | re.DOTALL,
)
COMMENT = re.compile(r"(?:^|\s+)#.*")
VARIABLE = re.compile(r"\$\{(?P<name>[^}:]*)(?::-(?P<usual>[^}]*))?\}")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Its entries, `${NAME}` and `${NAME:-usual}` filled in; {} without such a file. UsageError when unreadable."""
    if not path.is_file():
        return {}
    try:
        text = text_file.read(path)
    except (OSError, text_file.NoTextError) as error:
        raise UsageError(f"guidellm: {path} cannot be read: {error}") from None
    found: dict[str, str] = {}
    for entry in ENTRY.finditer(text):
        found[entry["name"]] = _filled(_value(entry), {**environment, **found})
    return found


def _value(entry: re.Match[str]) -> str:
    if entry["single"] is not None:
        return re.sub(r"\\(['\\])", r"\1", entry["single"])
    if entry["double"] is not None:
        return re.sub(
            r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), entry["double"], flags=re.DOTALL
        )
    return COMMENT.sub("", entry["bare"]).strip()


def _filled(text: str, known: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda found: known.get(found["name"], found["usual"] or ""), text)
