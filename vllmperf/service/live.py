"""What a worker tells of a run while it goes: each second's figures, and counts of all that came so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.loadgen.rolling import Rolling
from vllmperf.loadgen.session import NS, Session, Subscriber, Turn
from vllmperf.metrics.rolling import Interval
from vllmperf.record.unfinished import Unfinished
from vllmperf.service.counts import Counts
from vllmperf.service.lags import Lags
from vllmperf.service.power import PowerWatch

EVERY_S = 1.0

Say = Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True, slots=True)
class Past:
    """What a run did before this process: rows until at_ns, and requests that ended."""

    at_ns: int = 0
    done: int = 0

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Past:
        known = list(rows)
        at_s = max((row["end_s"] for row in known), default=0.0)
        return cls(round(at_s * NS), sum(row["done"] for row in known))


class Live:
    """Says the events `interval`, `progress`, `histograms` and `power` of a run, whatever number of sessions it has. say: takes
    each. power: of a run that knows where to read it. several: of a sweep, a fit or a search, whose runs follow each other in
    time; what they were at before."""

    def __init__(self, say: Say, power: PowerWatch | None = None, several: Past | None = None) -> None:
        self._say, self._counts, self._power = say, Counts(say), power
        self._several, self._began_ns, self._done = several, time.monotonic_ns(), 0
        if power is not None:
            power.start()

    def watch(self, session: Session, before: Unfinished | None) -> Subscriber:
        """Listen to this session. before: what it goes on from."""
        lags = Lags()
        at_ns, done = self._start(before)

        def tell(row: Interval) -> None:
            self._say({"event": "interval", **row._asdict(), **lags.p99_ms})
            self._say(self._progress(session, at_ns, done))

        rolling = Rolling(EVERY_S, tell, at_ns)

        def take(turn: Turn) -> None:
            lags.take(turn.histograms)
            rolling(turn)
            self._counts(turn)
            if self._power is not None and (line := self._power.line()):
                self._say(line)
            if turn.state != "running":
                self._done += session.snapshot().done
                self._say(self._progress(session, at_ns, done))

        return take

    def _start(self, before: Unfinished | None) -> tuple[int, int]:
        """The time at which a session begins, and the requests before it."""
        if self._several is None:
            return (0, 0) if before is None else (before.at_ns, before.n_done)
        past_ns = time.monotonic_ns() - self._began_ns
        return self._several.at_ns + past_ns, self._several.done + self._done

    def _progress(self, session: Session, at_ns: int, done: int) -> dict[str, Any]:
        """Of several runs the present one does not know how many requests are asked for, or how long they take."""
        now = session.snapshot()
        found = {"event": "progress", "done": now.done + done, "elapsed_s": now.elapsed_s + at_ns / NS}
        if self._several is not None:
            return found
        asked = None if now.asked is None else now.asked + done
        return {**found, "asked": asked, "time_left_s": now.time_left_s}
