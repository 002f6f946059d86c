"""A thread that uploads what waits in outboxes, again and again until it is gone: for programs that go on, like the service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from vllmperf.bucket.outbox import GRACE_S, Outbox
from vllmperf.bucket.words import told

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
"""Between tries while a server does not take what waits; each pause is twice the one before."""


class Uploader:
    """Uploads in the background from `start` to `close`.

    outboxes: gives those to look at, at each round. tell: takes a line when something was uploaded, or waits for a new reason."""

    def __init__(self, outboxes: Callable[[], Iterable[Outbox]], tell: Callable[[str], object]) -> None:
        self._outboxes, self._tell = outboxes, tell
        self._is_last, self._ended, self._woken = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="uploader", daemon=True)
        self._said: dict[str, str] = {}

    def start(self) -> None:
        """What waits from an earlier life goes first."""
        self._woken.set()
        self._thread.start()

    def wake(self) -> None:
        """There is something new."""
        self._woken.set()

    def close(self, within_s: float = 10.0) -> None:
        """Try once more, and end in time; what is not uploaded waits for the next start."""
        self._is_last.set()
        self._woken.set()
        self._thread.join(within_s)
        self._ended.set()
        self._thread.join(GRACE_S)

    def _work(self) -> None:
        pause_s: float | None = None
        while not self._ended.is_set():
            self._woken.wait(pause_s)
            self._woken.clear()
            is_last = self._is_last.is_set()
            has_waiting = self._round()
            if is_last:
                return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if has_waiting and pause_s else FIRST_PAUSE_S
            pause_s = pause_s if has_waiting else None

    def _round(self) -> bool:
        """Whether something still waits after it."""
        has_waiting = False
        for outbox in self._outboxes():
            before = outbox.waiting
            if not before or self._ended.is_set():
                has_waiting |= bool(before)
                continue
            has_waiting |= bool(outbox.upload(self._ended.is_set))
            self._say(str(outbox.folder), told(outbox, before))
        return has_waiting

    def _say(self, folder: str, line: str) -> None:
        if self._said.get(folder) != line:
            self._said[folder] = line
            self._tell(line)
