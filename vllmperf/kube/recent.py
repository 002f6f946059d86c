"""The last lines of a log that was read, so that reading it again from a whole second repeats none and misses none."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

NS_PER_S = 1_000_000_000
MARGIN_S = 1
"""Standard output and error are stamped before they are written in turn, so stamps may run backwards a little."""


class Stamped(Protocol):
    @property
    def stamp_ns(self) -> int | None: ...
    @property
    def text(self) -> bytes: ...


class Recent:
    """Keeps the lines of the last seconds by stamp and text; lines without a stamp are not known again."""

    def __init__(self) -> None:
        self.newest_ns: int | None = None
        self._by_second: dict[int, Counter[tuple[int, bytes]]] = {}

    def add(self, line: Stamped) -> None:
        if line.stamp_ns is None:
            return
        second = line.stamp_ns // NS_PER_S
        self._by_second.setdefault(second, Counter())[line.stamp_ns, line.text] += 1
        if self.newest_ns is None or line.stamp_ns > self.newest_ns:
            self.newest_ns = line.stamp_ns
            for old in [key for key in self._by_second if key < second - MARGIN_S]:
                del self._by_second[old]

    def resume_ns(self) -> int | None:
        """The whole second to ask from; None when nothing was read."""
        return None if self.newest_ns is None else (self.newest_ns // NS_PER_S - MARGIN_S) * NS_PER_S

    def again(self) -> Again:
        """For one more reading from resume_ns()."""
        known: Counter[tuple[int, bytes]] = Counter()
        for lines in self._by_second.values():
            known.update(lines)
        return Again(known, self.newest_ns)


class Again:
    """Tells the lines of one repeated reading that were there before."""

    def __init__(self, known: Counter[tuple[int, bytes]], newest_ns: int | None):
        self._known, self._newest_ns = known, newest_ns

    def repeated(self, line: Stamped) -> bool:
        """Whether this line was read before; each reading of it counts once."""
        if line.stamp_ns is None or not self._known.get((line.stamp_ns, line.text)):
            return False
        self._known[line.stamp_ns, line.text] -= 1
        return True

    def missing(self, line: Stamped) -> bool:
        """Whether this new line comes although lines before it, read earlier, did not come again. Said once."""
        if line.stamp_ns is None or self._newest_ns is None or line.stamp_ns <= self._newest_ns:
            return False
        lost = any(self._known.values())
        self._known, self._newest_ns = Counter(), None
        return lost
