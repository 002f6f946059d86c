"""Builds requests a little ahead of the engine, so that memory does not grow with the run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from vllmperf.loadgen.bodies import Body
from vllmperf.loadgen.schedule import Schedule, Times
from vllmperf.loadgen.session import Block, Turn

BLOCK_REQUESTS = 256
BLOCK_BYTES = 8 << 20
LEAST_AHEAD = 1024
MOST_SMALL = 8192
SMALL_BYTES = 4 << 20
"""Of small bodies more are kept ready: a fast server may take thousands between two looks at the backlog."""
AHEAD_NS = 1_000_000_000
"""In an open loop without a cap the backlog covers this long, however many requests that are."""
UNKNOWN = (None, None)
AHEAD_OF_LAST = 4
"""Else it is at least this many times what was taken since the last look."""


class Feeder:
    """The source of most runs: the bodies in order, at the schedule's times. `ended` when all were given.

    Raises UsageError for bad data, most of it at the first more().
    """

    def __init__(
        self,
        bodies: Iterator[Body],
        schedule: Schedule,
        max_concurrency: int | None = None,
        wait_s: float = 0.5,
        numbers: Iterator[int] | None = None,
    ) -> None:
        """numbers: of the requests in the plan, when they are not all of it from the first on."""
        self.n, self.is_timed, self.wait_s = schedule.n, schedule.times is not None, wait_s
        self._bodies = itertools.islice(bodies, schedule.n)
        self._numbers = numbers
        self._times = None if schedule.times is None else TimeQueue(schedule.times)
        self._is_free = self.is_timed and max_concurrency is None
        self._last_ns = -1
        self._ahead = _ahead(schedule, max_concurrency or 0)
        self._fed = self._fed_bytes = self._taken = 0
        self._asked: dict[int, tuple[int | None, int | None]] = {}
        self.ended = False

    def asked(self, indexes: Iterable[int]) -> list[tuple[int | None, int | None]]:
        """Tokens that these requests asked for (prompt, answer of a choice). Each can be asked for once: it is forgotten
        then, so that memory does not grow with the run."""
        return [self._asked.pop(index, UNKNOWN) for index in indexes]

    def more(self, turn: Turn) -> Iterator[Block]:
        """What tops the backlog up."""
        backlog, elapsed_ns = turn.counters["backlog"], turn.elapsed_ns
        taken = self._fed - backlog
        ahead = max(self._ahead, AHEAD_OF_LAST * (taken - self._taken))
        self._taken = taken
        while backlog < max(ahead, self._small_ahead()) or self._is_due(elapsed_ns):
            block = self._block()
            if block is None:
                return
            yield block
            backlog += len(block.bodies)

    def _is_due(self, elapsed_ns: int) -> bool:
        return self._is_free and self._last_ns < elapsed_ns + AHEAD_NS

    def _small_ahead(self) -> int:
        return min(MOST_SMALL, SMALL_BYTES * self._fed // max(1, self._fed_bytes))

    def _block(self) -> Block | None:
        found = list(_block(self._bodies))
        if not found:
            self.ended = True
            return None
        own = None if self._numbers is None else list(itertools.islice(self._numbers, len(found)))
        for number, body in zip(own or itertools.count(self._fed), found, strict=False):
            if body[1:] != UNKNOWN:
                self._asked[number] = body[1:]
        self._fed += len(found)
        self._fed_bytes += sum(len(body.data) for body in found)
        numbers = None if own is None else np.array(own, dtype=np.int64)
        return Block([body.data for body in found], self._next_times(len(found)), numbers)

    def _next_times(self, n: int) -> Times | None:
        if self._times is None:
            return None
        times = self._times.take(n)
        self._last_ns = int(times[-1])
        return times


def _ahead(schedule: Schedule, cap: int) -> int:
    if schedule.times is None and not cap:
        return schedule.n or LEAST_AHEAD  # all at once
    return LEAST_AHEAD + cap


def _block(source: Iterator[Body]) -> Iterator[Body]:
    size = 0
    for body in itertools.islice(source, BLOCK_REQUESTS):
        yield body
        size += len(body.data)
        if size >= BLOCK_BYTES:
            return


class TimeQueue:
    """Takes any number of times from pieces of any length."""

    def __init__(self, pieces: Iterator[Times]) -> None:
        self._pieces = pieces
        self._ready: Times = np.zeros(0, dtype=np.int64)

    def take(self, n: int) -> Times:
        """The next n times."""
        while len(self._ready) < n:
            self._ready = np.concatenate([self._ready, next(self._pieces)])
        taken, self._ready = self._ready[:n], self._ready[n:]
        return taken
