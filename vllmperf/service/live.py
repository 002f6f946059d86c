"""What a worker tells of a run while it goes: each second's figures, and counts of all that came so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
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


class Live:
    """Says the events `interval`, `progress`, `histograms` and `power` of a run, whatever number of sessions it has. say: takes
    each. power: of a run that knows where to read it."""

    def __init__(self, say: Say, power: PowerWatch | None = None) -> None:
        self._say, self._counts, self._power = say, Counts(say), power
        if power is not None:
            power.start()

    def watch(self, session: Session, before: Unfinished | None) -> Subscriber:
        """Listen to this session. before: what it goes on from."""
        lags = Lags()
        at_ns, done = (0, 0) if before is None else (before.at_ns, before.n_done)

        def tell(row: Interval) -> None:
            self._say({"event": "interval", **asdict(row), **lags.p99_ms})
            self._say(_progress(session, done, at_ns))

        rolling = Rolling(EVERY_S, tell, at_ns)

        def take(turn: Turn) -> None:
            lags.take(turn.histograms)
            rolling(turn)
            self._counts(turn)
            if self._power is not None and (line := self._power.line()):
                self._say(line)
            if turn.state != "running":
                self._say(_progress(session, done, at_ns))

        return take


def _progress(session: Session, done: int, at_ns: int) -> dict[str, Any]:
    now = session.snapshot()
    return {
        "event": "progress",
        "asked": None if now.asked is None else now.asked + done,
        "done": now.done + done,
        "elapsed_s": now.elapsed_s + at_ns / NS,
        "time_left_s": now.time_left_s,
    }
