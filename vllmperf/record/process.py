"""Who writes a run file, and whether it still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ENDED = ("Z", "X")
"""States of a process in proc(5)."""


def this_process() -> dict[str, Any]:
    """pid, host, and the clock ticks after boot at which this process began: pids come back, in containers at once."""
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "began_ticks": _began_ticks(pid)}


def is_alive(writer: Mapping[str, Any]) -> bool:
    """Whether this process, as this_process() described it, goes on here. False for one of another host."""
    if writer.get("host") != socket.gethostname() or not writer.get("pid"):
        return False
    pid = int(writer["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    began = writer.get("began_ticks")
    return began is None or began == _began_ticks(pid)


def _began_ticks(pid: int) -> int | None:
    """proc(5): the 22nd field of /proc/PID/stat, counted behind the name in parentheses. None for one that has ended and that
    nobody waits for, as a container without an init keeps them."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in ENDED else int(fields[18])
    except (OSError, ValueError, IndexError):
        return None
