"""What listens to a session in most runs: the run file, the live figures, whoever knows when enough has come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import vllmperf._engine as _engine
from vllmperf.loadgen.machine import Machine
from vllmperf.loadgen.progress import Snapshot
from vllmperf.loadgen.session import Session, Subscriber, Turn
from vllmperf.metrics.sessions import TURNAROUND
from vllmperf.record.batches import joined, without_texts

if TYPE_CHECKING:
    from vllmperf.record.unfinished import Unfinished

CHECKPOINT_S = 2.0
GATHER_S = 0.4
DRAIN = "drain"
PAUSED = "paused"
"""State of the last turn of a part of a run that goes on in this process, when the server is back."""

Progress = Callable[[Snapshot], None]
Watch = Callable[[Session, "Unfinished | None"], Subscriber]
"""Makes a subscriber for each session of a run, for those who need more of it than its snapshots; with what the session goes
on from, of a run that was broken off or paused."""
Enough = Callable[["_engine.Batch", "_engine.Counters"], "bool | str"]
"""Asked after each batch of finished requests: True ends the run at once, DRAIN sends no more and leaves what is in flight
the grace period."""


class Writer(Protocol):
    """What takes the results (vllmperf.record.writer.RunWriter)."""

    def append(self, batch: _engine.Batch) -> None: ...
    def checkpoint(
        self, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]
    ) -> None: ...
    def pause(self, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]) -> None: ...
    def finish(
        self, state: str, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]
    ) -> None: ...


Totals = Callable[[], "Mapping[str, float] | None"]
"""Asks the server for what it has counted so far (vllmperf.scrape.totals)."""


def recorder(
    writer: Writer, server: Totals | None = None, precision: Callable[[], Mapping[str, Any]] | None = None
) -> Subscriber:
    """Writes each batch at once, and the figures of the run every CHECKPOINT_S and at the end, with what the machine did to
    the client and what the server counted meanwhile. Make it just before the run. precision: asked at the end for the checks of
    --until."""
    checkpoint_at = 0.0
    before = server() if server else None
    machine = Machine()

    def record(turn: Turn) -> None:
        nonlocal checkpoint_at
        writer.append(turn.batch)
        machine.look()
        if turn.state != "running":
            # the environment was written at the start; this is how busy the machine was by the end
            after = server() if server and before else None
            counters = {
                **turn.counters,
                "load_average_after": os.getloadavg(),
                "machine": machine.facts(),
                "server": {"before": before, "after": after} if after else None,
                **({"until": precision()} if precision else {}),
            }
            if turn.state == PAUSED:
                writer.pause(counters, turn.histograms)
            else:
                writer.finish(turn.state, counters, turn.histograms)
        elif time.monotonic() >= checkpoint_at:
            writer.checkpoint({**turn.counters, "machine": machine.facts()}, turn.histograms)
            checkpoint_at = time.monotonic() + CHECKPOINT_S

    return record


def gathered(subscriber: Subscriber, keeps_text: bool, turnaround: _engine.Histogram) -> Subscriber:
    """The same for a session whose source looks at the engine all the time: it gets a turn each GATHER_S, with all that finished
    meanwhile. keeps_text: else the texts that the source needed go no further. The histogram of late requests is left out:
    a turn of a conversation has no time at which it should have left but that after its answer, and turnaround has that."""
    batches: list[_engine.Batch] = []
    given_at = time.monotonic()

    def take(turn: Turn) -> None:
        nonlocal given_at
        if turn.batch["records"]:
            batches.append(turn.batch if keeps_text else without_texts(turn.batch))
        is_last = turn.state != "running"
        if not is_last and time.monotonic() < given_at + GATHER_S:
            return
        given_at = time.monotonic()
        known = {name: value for name, value in turn.histograms.items() if name != "schedule_lag"}
        histograms = {**known, TURNAROUND: turnaround}
        whole, batch = turn._replace(histograms=histograms), joined(batches)
        batches.clear()
        if is_last:
            subscriber(whole._replace(batch=batch, state="running"))
        subscriber(whole if is_last else whole._replace(batch=batch))

    return take


def live(session: Session, progress: Progress) -> Subscriber:
    """Tells `progress` how the run goes, as long as it goes."""
    return lambda turn: progress(session.snapshot()) if turn.state == "running" else None


def until(enough: Enough) -> Subscriber:
    """Ends the run when `enough` says so."""

    def look(turn: Turn) -> None:
        if turn.state == "running" and (end := enough(turn.batch, turn.counters)):
            turn.end(now=end != DRAIN)

    return look
