"""Takes a line of a vLLM server apart: who printed it, when, from which source file, and what it says."""

from __future__ import annotations

import re
from typing import NamedTuple

from vllmperf.startup.log.envelope import Wrapped

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Process(NamedTuple):
    """What stands in `(Worker_TP0 pid=77)`."""

    name: str = ""
    pid: int | None = None
    ip: str | None = None
    kind: str = ""  # "api", "engine", "worker", "" when unknown
    rank: str | None = None  # "TP0", "DP1_TP0_EP8", "3"


class Stamp(NamedTuple):
    month: int
    day: int
    hour: int
    minute: int
    second: int

    def __str__(self) -> str:
        return f"{self.month:02}-{self.day:02} {self.hour:02}:{self.minute:02}:{self.second:02}"


class Line(NamedTuple):
    """One line of a server. Without `level` and `stamp` it was not printed by vLLM's logger."""

    message: str
    process: Process
    logger: str = ""  # "vllm", "uvicorn", "flashinfer", "ray", "" for everything else
    level: str | None = None
    stamp: Stamp | None = None
    file: str | None = None
    repeated: int = 0  # Ray: further processes that printed the same
    dated: str | None = None  # a date with its year, where the line has one


NO_PROCESS = Process()
_PROCESS = re.compile(
    r"\((?P<name>[A-Za-z_][^\s()=]*(?:\([^()]*\))?)?"
    r"(?:\s*rank=(?P<rank>\d+),?)?(?:\s+(?P<label>(?:DP|PP|TP|EP|PCP|DCP)\d+(?:_\w+)?))?"
    r"\s*pid=(?P<pid>\d+)(?:,\s*ip=(?P<ip>[^)\s]+))?\)\s?"
)
_HEADER = re.compile(
    r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) +(?:(?P<stamp>\d\d-\d\d \d\d:\d\d:\d\d)(?:[.,]\d+)? +)?"
    r"(?:\[(?P<file>[^\]\s]{1,200}?):\d+\]|(?P<bare>[\w./<>-]{1,200}\.py):\d+\])(?: (?P<message>.*))?$",
    re.S,
)
_LOGGING_PREFIX = re.compile(
    r"[^\s\"'{}#*>/-][^\s\"'{}]{0,63} (?:[^\s\"'{}]{1,64} )?(?=\(|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) )"
)
_UVICORN = re.compile(r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):  +(?P<message>.*)$", re.S)
_PYTHON = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:[.,]\d+)?[\s-]*"
    r"(?:(?P<name>[a-zA-Z_][\w.]*)[\s-]+)?(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)[\s-]+"
    r"(?:(?P<file>[\w./-]+\.py):\d+\s*-{1,2}\s*|\[(?P<bracket>[\w./-]+\.py):\d+\]\s*)?(?:(?P<module>[\w.]+): )?(?P<message>.*)$",
    re.S,
)
_PYTHON_BASIC = re.compile(
    r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?P<name>[\w.]+):(?P<message>.*)$", re.S
)
# Dynamo's runtime prints vLLM's lines so: "INFO core.__init__: Initializing a V1 LLM engine …".
_MODULE = re.compile(
    r" *(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) +(?P<module>[a-z_]\w*)\.(?P<function>[\w<>.]+): (?P<message>.*)$",
    re.S,
)
_REPEATED = re.compile(r" \[repeated (\d+)x across (?:all nodes|cluster)\](?: \(Ray deduplicates logs.*)?$")
_STAMP = re.compile(r"(?:\d{4}-)?(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)")
_WORKER_RANK = re.compile(r"(?:Vllm)?Worker(?:Proc(?:ess)?)?[_-]((?:(?:DP|PP|TP|EP|PCP|DCP)\d+_?)+|\d+)$")
_ENGINE_RANK = re.compile(r"EngineCore_(?:DP)?(\d+)$")


def read(wrapped: Wrapped) -> Line:
    """What a line without its envelope is. Never fails: what is unknown is a Line with only a message."""
    text = wrapped.text
    process, rest = _processes(text)
    if (found := _HEADER.match(rest)) or (found := _HEADER.match(_without_prefix(rest))):
        return _vllm(found, process)
    prefixed = _LOGGING_PREFIX.match(text)
    if prefixed:
        process, after = _processes(text[prefixed.end() :])
        if found := _HEADER.match(after):
            return _vllm(found, process)
    if wrapped.json and (line := _from_json(wrapped, process, rest)):
        return line
    return _other(process, rest)


def _vllm(found: re.Match[str], process: Process) -> Line:
    message, repeated = _repeats(found["message"] or "")
    file = (found["file"] or found["bare"]).rsplit("/", 1)[-1]
    when = stamp(found["stamp"]) if found["stamp"] else None
    return Line(message, process, "vllm", found["level"], when, file, repeated)


def _processes(text: str) -> tuple[Process, str]:
    """The innermost process that stands before a line, and the rest. Ray nests them."""
    process = NO_PROCESS
    text = text.lstrip(" \t") if text[:1] in (" ", "\t") and "(" in text[:12] else text
    while text.startswith("(") and (found := _PROCESS.match(text)):
        process = _process(found)
        text = text[found.end() :]
    return process, text


def _process(found: re.Match[str]) -> Process:
    name = found["name"] or ""
    kind, rank = _role(name)
    rank = found["label"] or found["rank"] or rank
    return Process(name, int(found["pid"]), found["ip"], kind, rank)


def _role(name: str) -> tuple[str, str | None]:
    if name.lower().startswith("apiserver") or name == "MainProcess":
        return "api", None
    if name.startswith("EngineCore"):
        found = _ENGINE_RANK.match(name)
        return "engine", found[1] if found else None
    if "Worker" in name and not name.startswith(("_MapWorker", "MapWorker")):
        found = _WORKER_RANK.match(name)
        return "worker", found[1].rstrip("_") if found else None
    return "", None


def _without_prefix(text: str) -> str:
    """VLLM_LOGGING_PREFIX stands before the level: any one or two words."""
    found = _LOGGING_PREFIX.match(text)
    return text[found.end() :] if found else text.lstrip()


def stamp(text: str) -> Stamp | None:
    """`MM-DD HH:MM:SS`, with or without a year before it; None when it is no date."""
    found = _STAMP.match(text)
    if not found:
        return None
    month, day, hour, minute, second = map(int, found.groups())
    valid = 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61
    return Stamp(month, day, hour, minute, min(second, 59)) if valid else None


def _repeats(message: str) -> tuple[str, int]:
    message = message.rstrip("\r")
    found = _REPEATED.search(message) if "[repeated " in message else None
    return (message[: found.start()], int(found[1])) if found else (message, 0)


def _from_json(wrapped: Wrapped, process: Process, rest: str) -> Line | None:
    """A message whose level and source file the JSON logger gave beside it."""
    if wrapped.level is None or wrapped.level.upper() not in LEVELS:
        return None
    name = wrapped.name or ""
    if name.startswith("uvicorn"):
        return Line(rest, process, "uvicorn", wrapped.level.upper())
    if not name.startswith("vllm") and not wrapped.file:
        return None
    file = wrapped.file.rsplit("/", 1)[-1] if wrapped.file else f"{name.rsplit('.', 1)[-1]}.py"
    when = stamp(wrapped.time) if wrapped.time else None
    return Line(rest.split("\n")[0], process, "vllm", wrapped.level.upper(), when, file)


def _other(process: Process, text: str) -> Line:
    if found := _UVICORN.match(text):
        return Line(found["message"].rstrip(), process, "uvicorn", found["level"])
    if text[:1].isdigit() and (found := _PYTHON.match(text)):
        return _python(found, process)
    if found := _PYTHON_BASIC.match(text):
        return _named(found["name"], found["level"], found["message"], process, None, None)
    if found := _MODULE.match(text):
        return Line(found["message"], process, "vllm", found["level"], None, f"{found['module']}.py")
    return Line(text.rstrip("\r"), process)


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
        return Line(message, process, "uvicorn", level)
    if message.startswith("[Autotuner]") or "flashinfer" in name:
        return Line(message, process, "flashinfer", level, None, file)
    return Line(message, process, "ray" if file == "worker.py" else "", level, None, file)
