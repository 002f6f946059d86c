"""Several engines that look like one: each loads a target of its own with its share of the requests.

A request's number says where it goes. Every engine has its share of the concurrency, and all begin at one time. Instants count
from the earliest start.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

import vllmperf._engine as _engine
from vllmperf import reach
from vllmperf.record.batches import joined
from vllmperf.record.shift import shifted

START_NS = 200_000_000
"""From start() to the common start, in which the connections are opened."""
STATES = ("running", "warming", "new", "draining", "ended")
"""That of the group is the first which one of its engines is in."""


class EngineGroup:
    """As _engine.Engine. cycle: the target of request i is cycle[i modulo its length]."""

    def __init__(self, configs: Sequence[Mapping[str, Any]], cycle: Sequence[int]) -> None:
        self._cycle, self._fed = np.array(cycle), 0
        self._engines: list[_engine.Engine] = []
        try:
            for config in configs:
                self._engines.append(_engine.Engine(reach.for_engine(config)))
        except BaseException:
            self.close()
            raise
        self._ended = [False] * len(configs)

    def feed(
        self,
        bodies: bytes,
        offsets: bytes,
        at_ns: bytes | None = None,
        numbers: bytes | None = None,
        sessions: bytes | None = None,
    ) -> None:
        """Queue requests, each with its target's engine."""
        edges = np.frombuffer(offsets, dtype=np.int64)
        n = len(edges) - 1
        counted = np.arange(self._fed, self._fed + n) if numbers is None else np.frombuffer(numbers, np.int64)
        times = None if at_ns is None else np.frombuffer(at_ns, dtype=np.int64)
        of = None if sessions is None else np.frombuffer(sessions, dtype=np.int64)
        self._fed += n
        where = self._cycle[counted % len(self._cycle)]
        for i, engine in enumerate(self._engines):
            mine = np.flatnonzero(where == i)
            if len(mine):
                pieces = [bodies[edges[row] : edges[row + 1]] for row in mine.tolist()]
                own = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
                due = None if times is None else times[mine].tobytes()
                session = {} if of is None else {"sessions": of[mine].tobytes()}
                engine.feed(b"".join(pieces), own.tobytes(), due, counted[mine].tobytes(), **session)

    def feed_end(self) -> None:
        for engine in self._engines:
            engine.feed_end()

    def start(self, at_real_ns: int = 0) -> None:
        """All at one time: the one that is given, else as soon as connections are usually open."""
        for engine in self._engines:
            engine.start(at_real_ns or time.time_ns() + START_NS)

    def drain(self, timeout_s: float) -> _engine.Batch | None:
        """What finished at all of them; None when all was given."""
        found: list[_engine.Batch] = []
        for i, engine in enumerate(self._engines):
            if self._ended[i]:
                continue
            batch = engine.drain(0.0 if found else timeout_s)
            self._ended[i] = batch is None
            if batch is not None:
                found.append(shifted(batch, self._behind_ns(engine)))
        if any(engine.counters()["gave_up"] for engine in self._engines):
            self.stop()
        return joined(found) if not all(self._ended) else None

    def _behind_ns(self, engine: _engine.Engine) -> int:
        """How long after the first engine this one began. Who begins first is first for good."""
        return engine.counters()["start_mono_ns"] - self._start("start_mono_ns")

    def _start(self, name: str) -> int:
        starts = [int(cast(Any, engine.counters())[name]) for engine in self._engines]
        return min((start for start in starts if start), default=0)

    def stop(self, now: bool = False) -> None:
        for engine in self._engines:
            engine.stop(now)

    def counters(self) -> _engine.Counters:
        """Those of all, added up."""
        each: list[dict[str, Any]] = [dict(engine.counters()) for engine in self._engines]
        summed = {
            name: sum(one[name] for one in each) for name, value in each[0].items() if _is_number(value)
        }
        states = {one["state"] for one in each}
        rest = {
            "state": next(state for state in STATES if state in states),
            "gave_up": next((one["gave_up"] for one in each if one["gave_up"]), None),
            **{name: self._start(name) for name in ("start_mono_ns", "start_real_ns")},
        }
        return cast("_engine.Counters", {**summed, **rest})

    def histograms(self) -> dict[str, _engine.Histogram]:
        found: dict[str, _engine.Histogram] = {}
        for engine in self._engines:
            for name, histogram in engine.histograms().items():
                found.setdefault(name, _engine.Histogram()).merge(histogram)
        return found

    def close(self) -> None:
        for engine in self._engines:
            engine.close()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """A total in whole parts by weight, each at least 1 where it can be: the largest remainders get what is left."""
    exact = [total * weight / sum(weights) for weight in weights]
    found = [int(part) for part in exact]
    order = sorted(range(len(weights)), key=lambda i: found[i] - exact[i])
    for i in order[: total - sum(found)]:
        found[i] += 1
    return found
