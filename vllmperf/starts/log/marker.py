"""What a marker is: one wording of one log line, used to read it and to write it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from string import Formatter

_INTEGER = r"[-+]?(?:\d{1,3}(?:,\d{3}){1,5}|\d{1,15})(?!\d)"
_NUMBER = rf"{_INTEGER}(?:\.\d{{1,30}})?(?:e-\d{{1,2}})?(?!\d)"
_BLANKS = r"\s{1,12}"  # few enough that a row of them cannot take long
_WITHIN = ".{0,4096}?"  # a text between others: no path is longer

Fields = dict[str, str]


@dataclass(frozen=True)
class Marker:
    """A line that tells something of a start.

    `event` is what it tells; several wordings may tell the same event. `template` is a format string: `{x:.2f}` and
    `{x:d}` are read as numbers however they are rounded or grouped, other fields as text. A message is this marker
    when it begins with the template: later versions often add words at the end.
    """

    event: str
    template: str
    meaning: str
    since: str  # first release that prints it at its default level
    until: str | None = None  # last one; None: still there
    component: str = "any"  # "api", "engine", "worker", "any"
    files: tuple[
        str, ...
    ] = ()  # source files that print it, as in the bracket; the first is the newest; () for any
    logger: str = "vllm"  # "vllm", "uvicorn", "flashinfer", "bar" (a progress bar), "plain"
    keys: tuple[str, ...] = field(default=(), compare=False)  # names of `reported` that its fields give

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(_pattern(self.template))

    @cached_property
    def start(self) -> str:
        """The fixed text that the message begins with: cheap to test before the regex."""
        for literal, _, _, _ in Formatter().parse(self.template):
            return literal
        return ""

    def read(self, message: str) -> Fields | None:
        """The fields of a message as text, or None when it is another line."""
        found = self.regex.match(message)
        return found.groupdict() if found else None

    def write(self, **fields: object) -> str:
        """The message with these fields; KeyError when one is missing."""
        return self.template.format(**fields)


def number(text: str) -> float:
    """A number as logs print it: "1,611,664", "0.86", "-0.12"."""
    return float(text.replace(",", ""))


def version_key(version: str) -> tuple[int, ...]:
    """Sorts releases; what follows the numbers ("rc3", ".dev29+g3fa2c") is left out."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _pattern(template: str) -> str:
    parts = list(Formatter().parse(template))
    out = []
    for place, (literal, name, spec, _) in enumerate(parts):
        out.append(_literal(literal))
        if name is not None:
            last = place == len(parts) - 1
            out.append(f"(?P<{name}>{_value(spec or '', last)})")
    return "".join(out)


def _literal(text: str) -> str:
    """Blanks stand for any blanks, because hard-wrapped and joined lines differ in them."""
    words = re.split(r"\s+", text)
    return _BLANKS.join(re.escape(word) for word in words)


def _value(spec: str, last: bool) -> str:
    if spec.endswith("f"):
        return _NUMBER
    if spec.endswith("d"):
        return _INTEGER
    return ".*" if last else _WITHIN
