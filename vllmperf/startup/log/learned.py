"""Envelopes that no table knows: what stands before vLLM's own header is learned from lines that have one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LONGEST_PREFIX = 160  # characters
MAX_SHAPES = 8

_PROCESS = r"(?:\([^()\n]*\bpid=\d+[^()\n]*\) ?)*"
_HEADER = re.compile(
    _PROCESS
    + r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[\w./<>-]+\.py:\d+\]|[\w./<>-]+\.py:\d+\]) "
)
_LOGGER_HEADER = re.compile(_PROCESS + r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d ")
_COLLECTED = re.compile(r"\d\d:\d\d:\d\d|\b\d{10,}|\bstd(?:out|err)\b", re.I)
_BAR = re.compile(r"\d%\||it/s|s/it|row/s|B/s")
_CLOSED = re.compile(r"\"[\]})\s]*$")
_VARIES = re.compile(
    r"(?P<level>\[?\s*\b(?:DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL|NOTICE)\b\s*\]?)"
    r"|(?P<stream>\bstd(?:out|err)\b)|(?P<digits>\d+)|(?P<blanks>\s+)",
    re.I,
)
_STANDS_FOR = {
    "level": r"\[?\s*[A-Za-z]+\s*\]?",
    "stream": "std(?:out|err)",
    "digits": r"\d+",
    "blanks": r"\s+",
}
_DATE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?")


@dataclass
class Learned:
    """The shapes of a file's prefixes: only one with a time of day or a stream in it is taken for a collector's."""

    _shapes: list[re.Pattern[str]] = field(default_factory=list)

    def strip(self, text: str, learns: bool, stamped: bool = False) -> tuple[str, str | None] | None:
        """(the line without its prefix, the prefix's date), or None when it has no prefix that is known.

        learns: a prefix that is new may be learned; stamped: a collector's stamp stood before the text."""
        found = next((match for shape in self._shapes if (match := shape.match(text))), None)
        if found is None and learns and len(self._shapes) < MAX_SHAPES:
            found = self._learn(text, stamped)
        if found is None:
            return None
        date = _DATE.search(found[0])
        rest = text[found.end() :]
        if found[0].endswith('"'):
            rest = _CLOSED.sub("", rest)
        return rest, date[0] if date else None

    def _learn(self, text: str, stamped: bool) -> re.Match[str] | None:
        header = _HEADER.search(text, 1, LONGEST_PREFIX * 3)
        if header is None or header.start() > LONGEST_PREFIX or _LOGGER_HEADER.match(text):
            return None
        prefix = text[: header.start()]
        if _BAR.search(prefix) or not (stamped or _COLLECTED.search(prefix)):
            return None
        self._shapes.append(re.compile(_shape(prefix), re.I))
        return self._shapes[-1].match(text)


def _shape(prefix: str) -> str:
    """A pattern for prefixes that differ in numbers, levels and streams only."""
    out, at = [], 0
    for part in _VARIES.finditer(prefix.rstrip()):
        out += [re.escape(prefix[at : part.start()]), _STANDS_FOR[part.lastgroup or "blanks"]]
        at = part.end()
    return "".join(out) + re.escape(prefix.rstrip()[at:]) + (r"(?: |$)" if prefix[-1] == " " else "")
