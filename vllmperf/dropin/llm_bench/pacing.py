"""When users send: each waits for its answer, then for what its mode asks. Times are s from the start."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from vllmperf.dropin.llm_bench.options import Options


def spawn_times_s(users: int, rate: float) -> list[float]:
    """When each user starts: whole groups of int(rate), as locust does, so that `rate` a second come out."""
    group = max(1, math.floor(rate))
    return [(i // group) * (group / rate) for i in range(users)]


@dataclass(frozen=True, slots=True)
class Send:
    """A request to hand over. late_s: how long its time had passed when its user took it."""

    due_s: float
    late_s: float = 0.0


class Pacing(Protocol):
    """A mode of sending.

    take(now_s): the requests that can be handed over now. freed(): the request that was due at due_s ended,
    its user is free. ahead(now_s): from now on users need not be told apart: endless times for the
    requests to come, None while they must.
    """

    def take(self, now_s: float) -> list[Send]: ...
    def freed(self, due_s: float, end_s: float) -> None: ...
    def ahead(self, now_s: float) -> Iterator[float] | None: ...


class ClosedLoop:
    """Users without pause. Each waits up to a second before its first request, so that they do not march in step."""

    def __init__(self, spawns_s: list[float], generator: random.Random) -> None:
        self._free_s = [spawn_s + generator.random() for spawn_s in spawns_s]
        self._last_s = max(self._free_s)
        heapq.heapify(self._free_s)

    def take(self, now_s: float) -> list[Send]:
        taken = []
        while self._free_s and self._free_s[0] <= now_s:
            taken.append(Send(heapq.heappop(self._free_s)))
        return taken

    def freed(self, due_s: float, end_s: float) -> None:  # noqa: ARG002 a user is as good as another
        heapq.heappush(self._free_s, end_s)

    def ahead(self, now_s: float) -> Iterator[float] | None:
        """Once all users have begun the engine's own limit does the rest, without a turn through Python."""
        return _always(now_s) if now_s > self._last_s and not self._free_s else None


class FixedRate:
    """One clock for all users: whoever is free takes its next tick."""

    def __init__(self, spawns_s: list[float], ticks_s: Iterator[float]) -> None:
        self._free_s = list(spawns_s)
        self._last_s = max(spawns_s)
        heapq.heapify(self._free_s)
        self._ticks_s = ticks_s

    def take(self, now_s: float) -> list[Send]:
        taken = []
        while self._free_s and self._free_s[0] <= now_s:
            free_s, tick_s = heapq.heappop(self._free_s), next(self._ticks_s)
            taken.append(Send(tick_s, max(0.0, free_s - tick_s)))
        return taken

    def freed(self, due_s: float, end_s: float) -> None:  # noqa: ARG002
        heapq.heappush(self._free_s, end_s)

    def ahead(self, now_s: float) -> Iterator[float] | None:
        """Once all users are there they are a limit of requests in flight, which the engine keeps."""
        return self._ticks_s if now_s >= self._last_s and not self._free_s else None


class Bursts:
    """Every user sends each `period_s`, or as soon as its answer came when that took longer.

    The first pause is a whole period after the first answer (locust's constant_pacing).
    """

    def __init__(self, spawns_s: list[float], period_s: float) -> None:
        self._due_s = list(spawns_s)
        heapq.heapify(self._due_s)
        self._spawns_s = frozenset(spawns_s)
        self._period_s = period_s

    def take(self, now_s: float) -> list[Send]:
        taken = []
        while self._due_s and self._due_s[0] <= now_s:
            taken.append(Send(heapq.heappop(self._due_s)))
        return taken

    def freed(self, due_s: float, end_s: float) -> None:
        is_first = due_s in self._spawns_s
        next_s = end_s + self._period_s if is_first else max(due_s + self._period_s, end_s)
        heapq.heappush(self._due_s, next_s)

    def ahead(self, now_s: float) -> Iterator[float] | None:  # noqa: ARG002 users never become alike
        return None


def ticks_s(qps: float, distribution: str, generator: random.Random) -> Iterator[float]:
    """The common clock: tick k after k waits with mean 1/qps, the first one wait after the start."""
    mean_s, at_s = 1 / qps, 0.0
    while True:
        if distribution == "exponential":
            at_s += generator.expovariate(1 / mean_s)
        elif distribution == "uniform":
            at_s += generator.uniform(0, 2 * mean_s)
        else:
            at_s += mean_s
        yield at_s


def pacing(options: Options, generator: random.Random) -> Pacing:
    """The mode that the options ask for."""
    spawns_s = spawn_times_s(options.users, options.spawn_rate)
    if options.qps is not None:
        return FixedRate(spawns_s, ticks_s(options.qps, options.qps_distribution, generator))
    if options.burst is not None:
        return Bursts(spawns_s, options.burst)
    return ClosedLoop(spawns_s, generator)


def _always(at_s: float) -> Iterator[float]:
    while True:
        yield at_s
