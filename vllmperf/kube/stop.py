"""What ends waits, watches and followed logs: by hand from any thread, or at a deadline."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any


class Stop:
    """One for everything that shall end together. Never set and without `timeout_s` it ends nothing."""

    def __init__(self, timeout_s: float | None = None):
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._open: set[int] = set()
        self._until = None if timeout_s is None else time.monotonic() + timeout_s

    def set(self) -> None:
        """Ends now; reads that are waiting for data in other threads return at once."""
        with self._lock:
            self._event.set()
            for descriptor in self._open:
                _shut_down(descriptor)

    def is_set(self) -> bool:
        """Whether it was set or its time is over."""
        return self._event.is_set() or self.left_s() == 0

    def left_s(self) -> float | None:
        """Seconds to the deadline, 0 when passed, None without one."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def at_most(self, seconds: float) -> float:
        """`seconds`, or what is left when that is less; never quite 0, which urllib3 refuses."""
        left = self.left_s()
        return seconds if left is None else max(min(seconds, left), 0.001)

    def wait(self, seconds: float) -> bool:
        """Sleeps, and tells whether it ended meanwhile."""
        self._event.wait(self.at_most(seconds))
        return self.is_set()

    @contextlib.contextmanager
    def interrupting(self, response: Any) -> Iterator[None]:
        """While inside, set() shuts down the connection of this urllib3 response."""
        # A copy of the descriptor: the reader may close its own, and the number be given to another, at any time.
        connected = getattr(getattr(response, "connection", None), "sock", None)
        if connected is None:
            yield
            return
        descriptor = os.dup(connected.fileno())
        try:
            with self._lock:
                self._open.add(descriptor)
                if self._event.is_set():
                    _shut_down(descriptor)
            yield
        finally:
            with self._lock:
                self._open.discard(descriptor)
            os.close(descriptor)


def _shut_down(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
        copy.shutdown(socket.SHUT_RDWR)
