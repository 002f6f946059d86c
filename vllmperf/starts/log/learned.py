"""Envelopes and formats that no table knows: what stands before a line is learned from lines that tell it.

Two kinds are learned, each as a shape: what a collector puts before a whole line of vLLM's own form, and the head of
a logger's own format, whose lines are told by what they say (`bodies`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from vllmperf.starts.log import bodies, markers, process, stamps
from vllmperf.starts.log.lines import Line
from vllmperf.starts.log.process import NO_PROCESS
from vllmperf.starts.log.stamps import Found

LONGEST_PREFIX = 160  # characters
MAX_SHAPES = 24

_LEVEL = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
HEADER = re.compile(
    rf"(?:{_LEVEL}) ++(?:\d{{4}}[-/])?\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{{1,9}})? "
    r"(?:\[[\w./<>-]{1,200}\.py:\d{1,9}\]|[\w./<>-]{1,200}\.py:\d{1,9}\]) "
)
_PART = re.compile(r"(?:\[[\w.-]{1,40}\] )$")
_BAR = re.compile(r"\d%\||it/s|s/it|row/s|B/s")
_CLOSED = re.compile(r"\"[\]})\s]*+$")
_CELL = re.compile(r'((?:[^"]|"")*+)"(?:,|\s*+$)')  # of a table with commas, behind its first quotation mark
_LEVELS = "DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL|NOTICE|TRACE|SUCCESS|EXCEPTION"
_VARIES = re.compile(
    rf"(?P<level>\s*\b(?:{_LEVELS})\b\s*)|(?P<stream>\bstd(?:out|err)\b)"
    r"|(?P<id>[A-Za-z0-9](?=[\w.-]{7})(?=[\w.-]*\d)(?=[\w.-]*[A-Za-z])[\w.-]+)"
    r"|(?P<digits>\d+)|(?P<blanks>\s+)|(?P<word>[^\W\d][\w./<>-]*)",
    re.I,
)
_STANDS_FOR = {
    "level": rf"\s*+(?:{_LEVELS})\s*+",
    "stream": "std(?:out|err)",
    "id": r"[\w.-]++",
    "digits": r"\d++",
    "blanks": r"\s++",
    "word": r"[^\W\d][\w./<>-]*+",
}
_CLOCK = re.compile(r"\d\d:\d\d:\d\d|\b1\d{9}")
_WORDS = re.compile(r"[A-Za-z_][\w.]*")
_TOLD_LEVEL = re.compile(rf"\b(?P<word>{_LEVELS})\b|(?<!\w)(?P<letter>[IWEFDC])(?=\d{{4}} |\])", re.I)
_SAME = {"WARN": "WARNING", "FATAL": "CRITICAL", "EXCEPTION": "ERROR", "I": "INFO", "W": "WARNING", "E": "ERROR",
         "F": "CRITICAL", "C": "CRITICAL", "D": "DEBUG"}  # fmt: skip
_SERVERS = {"MODEL_LOG": "TorchServe", "org.pytorch.serve": "TorchServe", "PyProcess": "DJL Serving"}


class Stripped(NamedTuple):
    """A line behind a collector's prefix."""

    text: str
    found: Found  # the prefix's stamp
    prefix: str


@dataclass
class Learned:
    """The shapes of one file. A new one is only learned where `learns` says so: before the first request, since what
    comes later may be what a client sent."""

    host: str | None = None  # the server that the engine is part of, where a prefix names it
    _prefixes: list[re.Pattern[str]] = field(default_factory=list)
    _heads: list[re.Pattern[str]] = field(default_factory=list)

    @property
    def has_own(self) -> bool:
        """Whether a logger's own format was learned."""
        return bool(self._heads)

    @property
    def is_empty(self) -> bool:
        return not self._heads and not self._prefixes

    # --- what a collector puts before whole lines

    def strip(self, text: str, learns: bool) -> Stripped | None:
        """The line without its prefix, or None when it has no prefix that is known."""
        found = _match(self._prefixes, text)
        if found is None and learns and len(self._prefixes) < MAX_SHAPES:
            found = self._learn_prefix(text)
        if found is None:
            return None
        return Stripped(_opened(found[0].rstrip(), text[found.end() :]), stamps.find(found[0]), found[0])

    def note(self, prefix: str) -> None:
        """A prefix that was taken off because a header stood behind it: other lines have it, too."""
        if len(self._prefixes) < MAX_SHAPES and _match(self._prefixes, prefix) is None:
            self._prefixes.append(re.compile(_shape(prefix, words=False), re.I))

    def _learn_prefix(self, text: str) -> re.Match[str] | None:
        header = HEADER.search(text, 1, LONGEST_PREFIX * 4)
        if header is None:
            return None
        end = process.begins(text, header.start())
        if end == header.start() and (part := _PART.search(text, max(0, end - 48), end)):
            end = part.start()
        if not 0 < end <= LONGEST_PREFIX or _BAR.search(text, 0, end):
            return None
        prefix = text[:end]
        self.host = next((host for name, host in _SERVERS.items() if name in prefix), self.host)
        self._prefixes.append(re.compile(_shape(prefix, words=False), re.I))
        return self._prefixes[-1].match(text)

    # --- a logger's own format

    def read(self, line: Line, text: str, learns: bool, bare: bool) -> Line | None:
        """A line of unknown form as vLLM's or uvicorn's; None when it is neither.

        text: the whole line behind its process. bare: a message with nothing around it may be vLLM's, too, as no
        line of vLLM's own form was seen."""
        if (at := bodies.uvicorn(text)) is not None:
            return _told(line, text, at, "uvicorn")
        if (head := _match(self._heads, text)) is not None:
            return _told(line, text, head.end(), "vllm")
        if not learns:
            return None
        if (bare or line.level is not None) and markers.find(line.message) is not None:
            return _told(
                line, line.message, 0, "vllm"
            )  # of a logger that has no name, or none that is vLLM's
        at = bodies.vllm(text[: bodies.BEGINNING])
        is_logger = bool(at) and _is_logger(text[:at])
        if at is None or not (bare or is_logger):
            return None
        if is_logger and len(self._heads) < MAX_SHAPES:
            self._heads.append(re.compile(_shape(text[:at], words=True), re.I))
        return _told(line, text, at, "vllm")


def _match(shapes: list[re.Pattern[str]], text: str) -> re.Match[str] | None:
    for shape in shapes:
        if found := shape.match(text):
            return found
    return None


def _opened(prefix: str, rest: str) -> str:
    """What stands behind a prefix, without what closes it."""
    if not prefix.endswith('"'):
        return rest
    cell = _CELL.match(rest) if prefix[-2:-1] in ("", ",") else None
    return _CLOSED.sub("", rest) if cell is None else cell[1].replace('""', '"')


def _is_logger(prefix: str) -> bool:
    """Whether a prefix tells a time, a level or one of vLLM's modules, as loggers do and other text seldom does."""
    return bool(_CLOCK.search(prefix) or _TOLD_LEVEL.search(prefix) or "vllm." in prefix)


def _told(line: Line, text: str, at: int, logger: str) -> Line:
    """What the head of a line says of it, and the message behind."""
    head, message = text[:at], text[at:].rstrip("\r")
    if head.endswith('"'):
        message = _CLOSED.sub("", message)
    level = _TOLD_LEVEL.search(head)
    found = stamps.find(head) if head else Found()
    named = (level["word"] or level["letter"]).upper() if level else None
    inner, after = process.leading(message)
    who = line.process if line.process is not NO_PROCESS or inner.pid is None else inner
    if bodies.ACCESS.match(message, after):
        logger = "uvicorn"
    return line._replace(
        message=message[after:],
        process=who,
        logger=logger,
        level=_SAME.get(named, named) if named else line.level,
        stamp=found.stamp or line.stamp,
        file=_file(head) if logger == "vllm" else line.file,
        at=found if found.ns is not None else None,
    )


def _file(head: str) -> str:
    """The source file that the head names, as a file or as a module; "" when it does not."""
    known = bodies.files()
    for word in _WORDS.findall(head):
        if word.endswith(".py"):
            return str(word).rsplit("/", 1)[-1]
        name = f"{word.rsplit('.', 1)[-1]}.py"
        if word.startswith("vllm.") or name in known:
            return name
    return ""


def _shape(prefix: str, words: bool) -> str:
    """A pattern for prefixes that differ in numbers, levels and streams only (words: and in words). No part of it
    can match what the next one can, so that it never looks back."""
    body = prefix.rstrip()
    out, at = [], 0
    for part in _VARIES.finditer(body):
        kind = part.lastgroup or "blanks"
        out.append(re.escape(body[at : part.start()]))
        stands_for = _STANDS_FOR[kind]
        if kind == "level" and part.end() == len(body):
            stands_for = stands_for.removesuffix(r"\s*+")  # the blanks behind it are counted below
        out.append(re.escape(part[0]) if kind == "word" and not words else stands_for)
        at = part.end()
    out.append(re.escape(body[at:]))
    blanks = len(prefix) - len(body)
    return "".join(out) + (rf"(?:\s{{1,{blanks}}}|$)" if blanks else "")
