"""Ctrl-C during a run: once ends it gently, twice at once. Nothing that came is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Protocol


class Stoppable(Protocol):
    def stop(self, now: bool = False) -> None: ...


class Interrupts:
    """How often the run was interrupted."""

    def __init__(self) -> None:
        self.count = 0

    def __bool__(self) -> bool:
        return self.count > 0


@contextlib.contextmanager
def interruptible(engine: Stoppable) -> Iterator[Interrupts]:
    """SIGINT and SIGTERM stop the engine: the first one sending, the second also what is in flight.

    Handlers are set only in the main thread (others cannot) and put back at the end, so that a notebook or an
    asyncio loop around the run keeps its own.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def on_signal(_number: int, _frame: object) -> None:
        interrupts.count += 1
        engine.stop(now=interrupts.count > 1)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
