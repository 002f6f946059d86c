"""The server that runs now, in a file, so that the next sweep ends it when this one is killed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from vllmperf.sweeps.setups import Server, end_leftover, is_leftover

NAME, SWEEP = "server.json", "sweep_pid"


def note_server(logs: Path, server: Server) -> None:
    """Write down what ends it."""
    (logs / NAME).write_text(json.dumps({**server.facts(), SWEEP: os.getpid()}), encoding="utf-8")


def forget_server(logs: Path) -> None:
    """It has ended."""
    (logs / NAME).unlink(missing_ok=True)


def end_left(logs: Path) -> bool:
    """End the server of a sweep that is no more; whether there was one."""
    try:
        facts = json.loads((logs / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(facts, dict) or not is_leftover(facts) or _runs(facts.get(SWEEP)):
        return False
    end_leftover(facts)
    forget_server(logs)
    return True


def _runs(pid: object) -> bool:
    return isinstance(pid, int) and Path(f"/proc/{pid}").exists()
