"""One axis of time for a measurement: the wall clock when it began, carried on by the monotonic clock."""

from __future__ import annotations

import time


class Axis:
    """Instants in ns since the epoch that a step of the wall clock during the measurement does not move."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        return self._offset_ns + time.monotonic_ns()
