"""The names of processes that stand before a line: `(Worker_TP0 pid=77)`, of Ray nested and with a node."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

MOST_NESTED = 32
LONGEST = 400  # characters of one name

_INNER = r"\([^()\n]*+(?:\([^()\n]*+\)[^()\n]*+)?+\)"
NAME = rf"\([^()\n]*+(?:{_INNER}[^()\n]*+)?+\)"
"""What stands in brackets, with brackets in it at most two deep. It never looks at a character twice."""

_GROUP = re.compile(rf"{NAME}\s?")
_PROCESS = re.compile(
    rf"\((?P<name>(?!pid=|rank=)[A-Za-z_][^\s()=]*+(?:{_INNER})?+)?+"
    r"(?:\s*+rank=(?P<rank>\d{1,9})(?!\d),?)?(?:\s*+(?P<label>(?:DP|PP|TP|EP|PCP|DCP)\d{1,9}(?:_\w{1,60})?+))?"
    r"\s*+pid=(?P<pid>\d{1,12})(?!\d)(?:,\s*+(?:ip=(?P<ip>[^)\s]++)|[^()]*+))?+\)"
)
_WORKER_RANK = re.compile(r"(?:Vllm)?Worker(?:Proc(?:ess)?)?[_-]((?:(?:DP|PP|TP|EP|PCP|DCP)\d+_?)+|\d+)$")
_ENGINE_RANK = re.compile(r"EngineCore_(?:DP)?(\d+)$")


class Process(NamedTuple):
    """What stands in `(Worker_TP0 pid=77)`."""

    name: str = ""
    pid: int | None = None
    ip: str | None = None
    kind: str = ""  # "api", "engine", "worker", "" when unknown
    rank: str | None = None  # "TP0", "DP1_TP0_EP8", "3"
    host: str | None = None  # the server that this engine is part of, by a name around its own
    replica: tuple[int, str] | None = None  # pid and name of Ray Serve's replica around it


NO_PROCESS = Process()


def leading(text: str, at: int = 0) -> tuple[Process, int]:
    """The innermost process that stands in a text from a place on, and where the rest begins."""
    if text[at : at + 1] in (" ", "\t") and (bracket := text.find("(", at, at + 12)) > 0:
        at = bracket if text[at:bracket].isspace() else at
    process, outer = NO_PROCESS, NO_PROCESS
    for _ in range(MOST_NESTED):
        if not text.startswith("(", at):
            break
        found = _GROUP.match(text, at, at + LONGEST)
        named = _named(found[0].rstrip()) if found else None
        if found is None or named is None:
            break
        process, at = named, found.end()
        outer = process if process.host and not outer.host else outer
    return (process._replace(host=outer.host, replica=outer.replica) if outer.host else process), at


def begins(text: str, end: int, start: int = 0) -> int:
    """Where the processes begin that stand in a text before a place (from `start` on); `end` when there are none."""
    at = text.find("(", start, end)
    while at >= 0:
        found = _GROUP.match(text, at, at + LONGEST)
        if found and found.end() <= end and "pid=" in found[0]:
            return at
        at = text.find("(", at + 1, end)
    return end


@lru_cache(maxsize=4096)
def _named(text: str) -> Process | None:
    found = _PROCESS.fullmatch(text)
    if found is None:
        return None
    name = found["name"] or ""
    kind, rank = _role(name)
    pid, label = int(found["pid"]), found["label"] or found["rank"] or rank
    if not name.startswith("ServeReplica"):
        return Process(name, pid, found["ip"], kind, label)
    replica = (pid, name.partition(":")[2])
    return Process(name, pid, found["ip"], kind, label, "Ray Serve", replica)


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
