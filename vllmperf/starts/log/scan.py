"""Picks the lines of a serving server's log that may tell something of a start: all others are traffic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from string import Formatter

from vllmperf.starts.log.markers import MARKERS

NEEDLES = (
    b"vLLM API server version",
    b"vLLM server version",
    b"non-default args: ",
    b"args: Namespace(",
    "█  version".encode(),
    rb"\u2588  version",  # the same in JSON
    b"LLM engine (v",
    b"Automatically detected platform",
    b"importing.py:",  # a new process begins
    b"Application startup complete",
    b"Application shutdown complete",
    b"init engine (",
    b"Loading weights took",
    b"Model loading took",
    b"seconds to fall asleep",
    b"seconds to wake up",
    b"Sleep mode freed",
)
"""What a line must hold that is read once the server serves: sleep, wake, its end and the next start."""


TROUBLE = (
    b"Traceback (most",
    b"Error: ",
    b"Exception: ",
    b"error: ",
    b"Killed",
    b"fault",
    b"Fatal Python",
    b"Watchdog caught",
    b"died",
    b"what(): ",
)


@cache
def wide_needles(trouble: bool = True) -> tuple[bytes, ...]:
    """What a line must hold that is read where nothing of a start was seen for long: any marker, any failure.

    trouble: False where so many failures are known that no other one matters."""
    texts = {_longest(marker.template).encode() for marker in MARKERS if marker.logger != "bar"}
    return (*NEEDLES, *(TROUBLE if trouble else ()), *sorted(texts))


def _longest(template: str) -> str:
    """The longest fixed text of a template."""
    return max((literal for literal, _, _, _ in Formatter().parse(template)), key=len)


class Candidates:
    """Lines of blocks that hold one of some needles."""

    def __init__(self, needles: Sequence[bytes] = NEEDLES) -> None:
        from vllmperf._engine import LineScanner

        self._scanner = LineScanner(needles)
        self.lines = 0  # of the last block

    def of(self, block: bytes) -> Iterator[tuple[int, int, int]]:
        """(line from 0, start, end) of each."""
        found, self.lines = self._scanner.find(block)
        yield from found


def last_line(block: bytes) -> bytes:
    end = len(block) - 1 if block.endswith(b"\n") else len(block)
    return block[block.rfind(b"\n", 0, end) + 1 : end]
