"""Lines on the standard error in the form of locust's log."""

from __future__ import annotations

import datetime
import socket
import sys

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Log:
    """Writes what is at least as grave as `level`."""

    def __init__(self, level: str) -> None:
        self._least = LEVELS.index(level)
        self._host = socket.gethostname()

    def __call__(self, name: str, text: str, level: str = "INFO") -> None:
        if LEVELS.index(level) >= self._least:
            now = datetime.datetime.now()
            stamp = f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d}"
            print(f"[{stamp}] {self._host}/{level}/{name}: {text}", file=sys.stderr)

    def plain(self, lines: list[str]) -> None:
        """A table, with an empty line behind it."""
        if self._least <= LEVELS.index("INFO"):
            print("\n".join([*lines, ""]), file=sys.stderr)
