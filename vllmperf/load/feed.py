"""Builds requests a little ahead of the engine, so that memory does not grow with the run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from vllmperf import _engine
from vllmperf.load.bodies import Body, bodies
from vllmperf.load.schedule import Schedule, Times
from vllmperf.plan import Plan

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
    """Keeps the engine's backlog filled. Raises UsageError for bad data, most of it at the first feed().

    source: the bodies, where the plan does not say what they are.
    """

    def __init__(
        self,
        plan: Plan,
        model: str,
        schedule: Schedule,
        engine: _engine.Engine,
        repeat_first: bool = False,
        source: Iterator[bytes] | None = None,
    ) -> None:
        made = bodies(plan, model) if source is None else map(Body, source)
        if repeat_first:
            made = itertools.cycle([next(made)])
        self._engine = engine
        self._bodies = itertools.islice(made, schedule.n)
        self._times = None if schedule.times is None else TimeQueue(schedule.times)
        self._is_timed = schedule.times is not None and plan.max_concurrency is None
        self._last_ns = -1
        self._ahead = _ahead(plan, schedule)
        self._fed = self._fed_bytes = self._taken = 0
        self._asked: dict[int, tuple[int | None, int | None]] = {}
        self.ended = False

    def asked(self, indexes: Iterable[int]) -> list[tuple[int | None, int | None]]:
        """Tokens that these requests asked for (prompt, answer of a choice). Each can be asked for once: it is forgotten
        then, so that memory does not grow with the run."""
        return [self._asked.pop(index, UNKNOWN) for index in indexes]

    def feed(self, backlog: int, elapsed_ns: int = 0) -> None:
        """Top the backlog up: it holds so many requests now, so long after the start."""
        taken = self._fed - backlog
        ahead = max(self._ahead, AHEAD_OF_LAST * (taken - self._taken))
        self._taken = taken
        while not self.ended and (backlog < max(ahead, self._small_ahead()) or self._is_due(elapsed_ns)):
            backlog += self._feed_block()

    def _is_due(self, elapsed_ns: int) -> bool:
        return self._is_timed and self._last_ns < elapsed_ns + AHEAD_NS

    def _small_ahead(self) -> int:
        return min(MOST_SMALL, SMALL_BYTES * self._fed // max(1, self._fed_bytes))

    def _feed_block(self) -> int:
        found = list(_block(self._bodies))
        if not found:
            self._engine.feed_end()
            self.ended = True
            return 0
        for number, body in enumerate(found, self._fed):
            if body[1:] != UNKNOWN:
                self._asked[number] = body[1:]
        block = [body.data for body in found]
        offsets = np.cumsum([0, *map(len, block)], dtype=np.int64)
        self._engine.feed(b"".join(block), offsets.tobytes(), self._next_times(len(block)))
        self._fed += len(block)
        self._fed_bytes += int(offsets[-1])
        return len(block)

    def _next_times(self, n: int) -> bytes | None:
        if self._times is None:
            return None
        times = self._times.take(n)
        self._last_ns = int(times[-1])
        return times.tobytes()


def _ahead(plan: Plan, schedule: Schedule) -> int:
    cap = plan.max_concurrency or 0
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
