"""Picks the lines of a serving server's log that may tell something of a start: all others are traffic."""

from __future__ import annotations

from collections.abc import Iterator

NEEDLES = (
    b"vLLM API server version",
    "█  version".encode(),
    rb"\u2588  version",
    b"LLM engine (v",
    b"Automatically detected platform",
    b"importing.py:",
    b"Application startup complete",
    b"Application shutdown complete",
    b"init engine (",
    b"seconds to fall asleep",
    b"seconds to wake up",
    b"Sleep mode freed",
)


class Candidates:
    """Lines of a block that hold one of the needles."""

    def __init__(self) -> None:
        self.lines = 0

    def of(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        for place, line in enumerate(block.splitlines()):
            if any(needle in line for needle in NEEDLES):
                yield place, line
        self.lines = block.count(b"\n") + (not block.endswith(b"\n"))

    def last(self, block: bytes) -> bytes:
        return block.rstrip(b"\n").rsplit(b"\n", 1)[-1]
