"""Samples what happens beside a run, in a thread of its own: the watts of GPUs, the client's memory."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from vllmperf.errors import VllmperfError
from vllmperf.loadgen.session import NS, Turn
from vllmperf.loadgen.task import Task
from vllmperf.record.reader import header
from vllmperf.record.samples import BEFORE_NS, Sample, add_samples, in_run_ns
from vllmperf.scrape.power import Power

EVERY_S = 5.0
IDLE_S = 300.0
"""How long before the run Prometheus or a file is looked at, for the power of idle GPUs."""
CLIENT, RSS = "client", "rss_bytes"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Writer(Protocol):
    """What takes samples (vllmperf.record.writer.RunWriter)."""

    def sample(self, rows: list[Sample]) -> None: ...


class Sampling:
    """A subscriber, which comes before the one that ends the file. Made just before the run: what GPUs draw then is their power
    before the load.

    from_ns: the time of the run at which this part of it begins.
    """

    def __init__(self, task: Task, writer: Writer, from_ns: int) -> None:
        power = None if task.knobs.power is None else Power.of(task.knobs.power)
        self._power = power if power is not None and power.is_live else None
        self._writer, self._from_ns = writer, from_ns
        self._rows: list[Sample] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        if self._power is not None and from_ns == 0:
            writer.sample([(BEFORE_NS, *row[1:]) for row in self._look()])
        self._thread = threading.Thread(target=self._watch, name="samples", daemon=True)
        self._thread.start()

    def __call__(self, turn: Turn) -> None:
        if turn.state != "running":
            self._stop.set()
            self._thread.join(2 * EVERY_S)
            self._rows += self._look()
        start_ns = turn.counters["start_mono_ns"]
        if not start_ns:
            return
        with self._lock:
            rows, self._rows = self._rows, []
        known = [(at - start_ns + self._from_ns, *rest) for at, *rest in rows if at >= start_ns]
        if known:
            self._writer.sample(known)  # type: ignore[arg-type]  # mypy loses the length of *rest

    def _watch(self) -> None:
        due = time.monotonic()
        while True:
            rows = self._look()
            with self._lock:
                self._rows += rows
            due = max(due + EVERY_S, time.monotonic())
            if self._stop.wait(due - time.monotonic()):
                return

    def _look(self) -> list[Sample]:
        at_ns = time.monotonic_ns()
        found: list[Sample] = []
        if rss := rss_bytes():
            found.append((at_ns, CLIENT, RSS, float(rss)))
        if self._power is not None:
            # An exporter that is away for a while leaves a hole, no more.
            with suppress(VllmperfError, OSError, ValueError):
                found += [(at_ns, f"gpu {one.gpu}", one.name, one.value) for one in self._power.now()]
        return found


def rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def add_history(task: Task, path: Path) -> str | None:
    """What Prometheus or a file has of the time of the run, to its file, when it is over; why not, in one line."""
    power = None if task.knobs.power is None else Power.of(task.knobs.power)
    if power is None or power.is_live:
        return None
    meta = header(path).meta
    start_s = int(meta["counters"].get("start_real_ns") or 0) / NS
    try:
        drawn = power.between(start_s - IDLE_S, time.time())
        rows = [(in_run_ns(one.at_s * NS, meta), one) for one in drawn]
        samples = [(at, f"gpu {one.gpu}", "power_w", one.watts) for at, one in rows if at is not None]
        add_samples(path, samples)
    except (VllmperfError, OSError, ValueError, sqlite3.Error) as error:
        return f"no power from {power.kind} {power.where}: {' '.join(str(error).split())}"
    return (
        None
        if samples
        else f"no power from {power.kind} {power.where}: it has nothing of the time of the run"
    )
