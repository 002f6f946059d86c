"""The last lines of a log that was read, so that reading it again from a whole second repeats none and misses none."""

from __future__ import annotations

from collections import Counter, deque

from vllmperf.kube.stamps import NS_PER_S

MARGIN_S = 1
"""Standard output and error are stamped before they are written in turn, so stamps may run backwards a little."""


class Recent:
    """Keeps the lines since resume_ns(); lines without a stamp are not known again."""

    def __init__(self) -> None:
        self.newest_ns: int | None = None
        self._lines: deque[tuple[int, bytes]] = deque()
        self._resume_ns = 0

    def add(self, stamp_ns: int | None, text: bytes) -> None:
        if stamp_ns is None:
            return
        self._lines.append((stamp_ns, text))
        if self.newest_ns is None or stamp_ns > self.newest_ns:
            self.newest_ns = stamp_ns
            self._resume_ns = (stamp_ns // NS_PER_S - MARGIN_S) * NS_PER_S
            while self._lines[0][0] < self._resume_ns:
                self._lines.popleft()

    def resume_ns(self) -> int | None:
        """The whole second to ask from; None when nothing was read."""
        return None if self.newest_ns is None else self._resume_ns

    def again(self) -> Again:
        """For one more reading from resume_ns()."""
        return Again(Counter(line for line in self._lines if line[0] >= self._resume_ns), self.newest_ns)


class Again:
    """Tells the lines of one repeated reading that were there before."""

    def __init__(self, known: Counter[tuple[int, bytes]], newest_ns: int | None):
        self._known, self._newest_ns = known, newest_ns

    def repeated(self, stamp_ns: int | None, text: bytes) -> bool:
        """Whether this line was read before; each reading of it counts once."""
        if stamp_ns is None or not self._known or not self._known.get((stamp_ns, text)):
            return False
        self._known[stamp_ns, text] -= 1
        return True

    def missing(self, stamp_ns: int | None) -> bool:
        """Whether a new line comes although lines before it, read earlier, did not come again. Said once."""
        if stamp_ns is None or self._newest_ns is None or stamp_ns <= self._newest_ns:
            return False
        lost = any(self._known.values())
        self._known, self._newest_ns = Counter(), None
        return lost
