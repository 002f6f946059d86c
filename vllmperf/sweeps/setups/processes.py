"""All processes of a server that was started here, whatever sessions and groups they made for themselves.

Each server gets a mark in its environment, which its descendants inherit: that finds daemons, and the server of a sweep that was
killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "VLLMPERF_SETUP"
PROC = Path("/proc")
POLL_S = 0.05


def new_mark() -> str:
    return uuid.uuid4().hex


def marked(mark: str) -> Iterator[int]:
    """Ids of the processes that run with this mark. Those that are dead but not yet reaped have no environment any more."""
    wanted = f"{VARIABLE}={mark}".encode()
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it has ended, or it is somebody else's
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def tell(mark: str, number: signal.Signals) -> None:
    """Send a signal to all of them."""
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def are_gone(mark: str, deadline_s: float) -> bool:
    """Wait until none is left, at most until this time of time.monotonic()."""
    while any(True for _ in marked(mark)):
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def end(mark: str, stop_s: float) -> None:
    """SIGTERM to all of them, SIGKILL to those that are left after stop_s. Ctrl-C meanwhile kills at once."""
    try:
        tell(mark, signal.SIGTERM)
        are_gone(mark, time.monotonic() + stop_s)
    finally:
        kill(mark)


def kill(mark: str) -> None:
    """SIGKILL, again for those that were just being born."""
    for _ in range(20):
        tell(mark, signal.SIGKILL)
        if are_gone(mark, time.monotonic() + 0.5):
            return
