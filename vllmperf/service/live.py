"""What a worker tells of a run while it goes: each second's figures, and counts of all that came so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import vllmperf._engine as _engine
from vllmperf.loadgen.rolling import Rolling
from vllmperf.loadgen.session import NS, Session, Subscriber, Turn
from vllmperf.metrics.rolling import Interval
from vllmperf.service.counts import Counts

EVERY_S = 1.0
LAGS = ("schedule_lag", "client_lag")

Say = Callable[[Mapping[str, Any]], object]


class Live:
    """Says the events `interval`, `progress` and `histograms` of a run.

    say: takes each. done, at_ns: what a run that is resumed has behind it.
    """

    def __init__(self, say: Say, done: int = 0, at_ns: int = 0) -> None:
        self._say, self._done, self._at_ns = say, done, at_ns
        self._lags: dict[str, float | None] = {}

    def watch(self, session: Session) -> Subscriber:
        """Listen to this session."""
        rolling = Rolling(EVERY_S, lambda row: self._tell(row, session), self._at_ns)

        counts = Counts(self._say)

        def take(turn: Turn) -> None:
            self._lags = {f"{name}_ms_p99": _p99_ms(turn.histograms.get(name)) for name in LAGS}
            rolling(turn)
            counts(turn)
            if turn.state != "running":
                self._tell_progress(session)

        return take

    def _tell(self, row: Interval, session: Session) -> None:
        self._say({"event": "interval", **asdict(row), **self._lags})
        self._tell_progress(session)

    def _tell_progress(self, session: Session) -> None:
        now = session.snapshot()
        asked = None if now.asked is None else now.asked + self._done
        self._say(
            {
                "event": "progress",
                "asked": asked,
                "done": now.done + self._done,
                "elapsed_s": now.elapsed_s + self._at_ns / NS,
                "time_left_s": now.time_left_s,
            }
        )


def _p99_ms(histogram: _engine.Histogram | None) -> float | None:
    return histogram.quantile(0.99) / 1e6 if histogram is not None and histogram.count else None
