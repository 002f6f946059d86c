"""All processes of a server that was started here, whatever sessions and groups they made for themselves.

Each server gets a mark in its environment, which its descendants inherit: that finds daemons, and the server of a sweep that was
killed. A process that gives itself a title may overwrite its environment, as agents of Ray do: so whatever is in a session with
a marked one belongs to it too. The server is started in a session of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

VARIABLE = "VLLMPERF_SETUP"
PROC = Path("/proc")
POLL_S = 0.05


def new_mark() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Family:
    """All processes of one server. sessions: those that had a marked process when somebody looked."""

    mark: str
    sessions: set[int] = field(default_factory=set)

    def pids(self) -> list[int]:
        """Of those that run now. What is dead but not yet reaped does not count."""
        running = [one for entry in PROC.iterdir() if entry.name.isdecimal() and (one := _seen(entry))]
        wanted = f"{VARIABLE}={self.mark}".encode()
        marked = {pid for pid, _, variables in running if wanted in variables}
        self.sessions.update(session for pid, session, _ in running if pid in marked)
        return [pid for pid, session, _ in running if pid in marked or session in self.sessions]

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to all of them."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def are_gone(self, deadline_s: float) -> bool:
        """Wait until none is left, at most until this time of time.monotonic()."""
        while self.pids():
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(POLL_S)
        return True

    def end(self, stop_s: float) -> None:
        """SIGTERM to all of them, SIGKILL to those that are left after stop_s. Ctrl-C meanwhile kills at once."""
        try:
            self.tell(signal.SIGTERM)
            self.are_gone(time.monotonic() + stop_s)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, again for those that were just being born."""
        for _ in range(20):
            self.tell(signal.SIGKILL)
            if self.are_gone(time.monotonic() + 0.5):
                return


def _seen(entry: Path) -> tuple[int, int, list[bytes]] | None:
    """Its id, its session, its variables; None when it has ended, or is somebody else's."""
    with contextlib.suppress(OSError):
        state, _parent, _group, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        if state not in "ZX":
            return int(entry.name), int(session), (entry / "environ").read_bytes().split(b"\0")
    return None
