"""Takes a line of a vLLM server apart: who printed it, when, from which source file, and what it says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from vllmperf.starts.log import ray_serve
from vllmperf.starts.log.envelope import Wrapped
from vllmperf.starts.log.process import NO_PROCESS, Process, leading
from vllmperf.starts.log.stamps import Found, Stamp, find, stamp

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Line(NamedTuple):
    """One line of a server. Without `level` and `stamp` it was not printed by vLLM's logger."""

    message: str
    process: Process = NO_PROCESS
    logger: str = ""  # "vllm", "uvicorn", "flashinfer", "ray", "ray serve", "kserve", "" for everything else
    level: str | None = None
    stamp: Stamp | None = None
    file: str | None = None  # "" where a logger of one's own does not say it
    repeated: int = 0  # Ray: further processes that printed the same
    dated: str | None = None  # a date with its year, where the line has one
    at: Found | None = None  # the instant that a logger's own format gives
    prefix: str = ""  # one or two words before it, of VLLM_LOGGING_PREFIX or of a collector
    component: str = ""  # of Ray Serve: "llm_LLMServer:m", "controller"
    part: str = ""  # "[Stage-1]": which of several engines that have no process of their own in the log


# No pattern here looks at a stretch of text more than once: a log may have lines of any length.
_LEVEL = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
_HEADER = re.compile(
    rf"(?P<level>{_LEVEL}) ++(?:(?P<stamp>(?P<year>\d{{4}}[-/])?\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{{1,9}})?) ++)?+"
    r"(?:\[(?P<file>[^\]\s]{1,200}?):\d{1,9}\]|(?P<bare>[\w./<>-]{1,200}\.py):\d{1,9}\])(?: (?P<message>.*))?$",
    re.S,
)
# What a line must have to be more than a message: an envelope, or a colour, stamp, level or process.
_AROUND = re.compile(r"[^ -\"$-;=?-\[\]_-z|}~]")
_WITHIN = re.compile(rf":\d|\[\d{{1,3}}[;m]|\|(?<!%\|)|{_LEVEL}|pid=")
_BLANKS = re.compile(r"\s++")
_LOGGING_PREFIX = re.compile(
    rf"[^\s\"'{{}}#*>/-][^\s\"'{{}}]{{0,63}} (?:[^\s\"'{{}}]{{1,64}} )?(?=\(|(?:{_LEVEL}) )"
)
_PART = re.compile(r"\[[A-Za-z]{1,20}[-_ ]?\d{1,4}\]")
_UVICORN = re.compile(rf"(?P<level>{_LEVEL}):  ++(?P<message>.*)$", re.S)
_DATE = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?+"
_PYTHON = re.compile(
    rf"(?P<date>{_DATE})[\s-]*+(?:\d++ )?+"
    rf"(?:(?P<name>(?!(?:{_LEVEL})\b)[a-zA-Z_][\w.]*+)[\s-]++)?+(?P<level>{_LEVEL})[\s:-]++"
    r"(?:(?P<file>[\w./-]{1,200}?\.py):\d++\s*+-{1,2}\s*+|\[(?P<bracket>[\w./-]{1,200}?\.py):(?:\w{1,99}\(\):)?\d++\]\s*+)?+"
    r"(?:(?P<module>[a-z_]\w*+(?:\.[a-z_]\w*+)++): )?+(?P<message>.*)$",
    re.S,
)
_PYTHON_BASIC = re.compile(rf"(?P<level>{_LEVEL}):(?P<name>[\w.]++):(?P<message>.*)$", re.S)
_DATED = re.compile(rf"(?:(?P<level>{_LEVEL})\s++)?+(?P<date>{_DATE})")
# Dynamo's runtime prints vLLM's lines so: "INFO core.__init__: Initializing a V1 LLM engine …".
_MODULE = re.compile(
    rf" *+(?P<level>{_LEVEL}) ++(?P<module>[a-z_]\w*+)\.(?P<function>[\w<>.]++): (?P<message>.*)$", re.S
)
_REPEATED = re.compile(
    r" \[repeated (\d{1,9})x across (?:all nodes|cluster)\](?: \(Ray deduplicates logs.*)?$"
)


def is_bare(text: str) -> bool:
    """Whether a line begins with a letter and has nothing that any pattern here or around it needs: a mere message."""
    return text[:1].isalpha() and not _AROUND.search(text) and not _WITHIN.search(text)


def read(wrapped: Wrapped) -> Line:
    """What a line without its envelope is. Never fails: what is unknown is a Line with only a message."""
    text = wrapped.text
    if wrapped.bare:
        return Line(text)
    process, at = leading(text)
    if found := _HEADER.match(text, at):
        return _vllm(found, process)
    if prefix := _LOGGING_PREFIX.match(text, at):  # VLLM_LOGGING_PREFIX: one or two words
        inner, after = leading(text, prefix.end())
        if found := _HEADER.match(text, after):
            line = _vllm(found, inner if inner.pid is not None else process)
            return _with_prefix(line, prefix[0], is_first=at == 0)
    elif (behind := _BLANKS.match(text, at)) and (found := _HEADER.match(text, behind.end())):
        return _vllm(found, process)
    if wrapped.json and (told := _from_json(wrapped, process, text[at:])):
        return told
    return _other(process, text[at:] if at else text)


def whole(rows: Sequence[str]) -> str:
    """The message of a line that a terminal wrapped at words."""
    text = "".join(row + " " if row.endswith((",", ":")) else row for row in rows)
    return read(Wrapped(text)).message


def _with_prefix(line: Line, prefix: str, is_first: bool) -> Line:
    part = _PART.match(prefix)
    at = find(prefix) if any(character.isdecimal() for character in prefix) else None
    return line._replace(
        prefix=prefix if is_first else "",
        part=part[0] if part else "",
        at=at if at is not None and at.ns is not None else None,
    )


def _vllm(found: re.Match[str], process: Process) -> Line:
    message, repeated = _repeats(found["message"] or "")
    file = (found["file"] or found["bare"]).rsplit("/", 1)[-1]
    when = stamp(found["stamp"]) if found["stamp"] else None
    dated = found["stamp"] if found["year"] else None
    return Line(message, process, "vllm", found["level"], when, file, repeated, dated)


def _repeats(message: str) -> tuple[str, int]:
    message = message.rstrip("\r")
    found = _REPEATED.search(message) if "[repeated " in message else None
    return (message[: found.start()], int(found[1])) if found else (message, 0)


def _from_json(wrapped: Wrapped, process: Process, rest: str) -> Line | None:
    """A message whose level and source file the JSON logger gave beside it."""
    if wrapped.level is None or wrapped.level.upper() not in LEVELS:
        return None
    name, level = wrapped.name or "", wrapped.level.upper()
    when = stamp(wrapped.time) if wrapped.time else None
    if name.startswith("uvicorn"):
        return Line(rest, process, "uvicorn", level, when)
    if not name.startswith("vllm") and not wrapped.file:
        return None
    file = wrapped.file.rsplit("/", 1)[-1] if wrapped.file else f"{name.rsplit('.', 1)[-1]}.py"
    return Line(rest.split("\n", 1)[0], process, "vllm", level, when, file)


def _other(process: Process, text: str) -> Line:
    first = text[:1]
    if found := _UVICORN.match(text):
        return Line(found["message"].rstrip(), process, "uvicorn", found["level"])
    if first.isdecimal() and (found := _PYTHON.match(text)):
        return _python(found, process)
    if found := _PYTHON_BASIC.match(text):
        return _named(found["name"], found["level"], found["message"], process, None, None)
    if found := _MODULE.match(text):
        return Line(found["message"], process, "vllm", found["level"], None, f"{found['module']}.py")
    if (first.isdecimal() or first in ("D", "I", "W", "E", "C")) and (found := _DATED.match(text)):
        return _dated(text.rstrip("\r"), process, found)
    logger = "ray serve" if text.startswith(ray_serve.ACTOR) else ""
    return Line(text.rstrip("\r"), process, logger)


def _dated(text: str, process: Process, found: re.Match[str]) -> Line:
    serve = ray_serve.read(text)
    if serve is None:
        return Line(text, process, "", found["level"], dated=found["date"])
    message, repeated = _repeats(serve.message)
    return Line(
        message, process, "ray serve", serve.level, stamp(serve.date), None, repeated, serve.date,
        component=serve.component,
    )  # fmt: skip


def _python(found: re.Match[str], process: Process) -> Line:
    name = found["name"] or found["module"] or ""
    file = found["file"] or found["bracket"]
    message, repeated = _repeats(found["message"])
    line = _named(name, found["level"], message, process, file, stamp(found["date"]))
    return line._replace(repeated=repeated, dated=found["date"])


def _named(
    name: str, level: str, message: str, process: Process, file: str | None, when: Stamp | None
) -> Line:
    """A line of Python's own logging formats, told by the logger's name."""
    file = file.rsplit("/", 1)[-1] if file else None
    if name.startswith("vllm"):
        return Line(message, process, "vllm", level, when, file or f"{name.rsplit('.', 1)[-1]}.py")
    if name.startswith("uvicorn"):
        return Line(message, process, "uvicorn", level, when)
    logger = "ray" if file == "worker.py" else "kserve" if name.startswith("kserve") else ""
    if not name and ray_serve.is_of_serve(file, message):
        logger = "ray serve"
    if message.startswith("[Autotuner]") or "flashinfer" in name:
        logger = "flashinfer"
    return Line(message, process, logger, level, when, file)
