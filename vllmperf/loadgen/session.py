"""The session drives the engine: a source gives it requests, subscribers get what has finished."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf import reach
from vllmperf.errors import SettingError, TargetError, UsageError
from vllmperf.loadgen import limits
from vllmperf.loadgen.engine_group import EngineGroup
from vllmperf.loadgen.interrupt import interruptible
from vllmperf.loadgen.progress import Snapshot
from vllmperf.loadgen.snapshots import Snapshots

HISTOGRAMS_S = 2.0
NS = 1_000_000_000
LATEST_S = 4e9
NOTHING: _engine.Batch = {"records": b"", "gaps": b"", "stamps": b"", "events": b"", "bytes": b""}


class Block(NamedTuple):
    """Requests in order. times_ns: when each is due, in ns after the start; None in a closed loop. numbers: what they are
    called; None: counted from the first one of the run. sessions: which session each is of; None: of none."""

    bodies: Sequence[bytes]
    times_ns: NDArray[np.int64] | None = None
    numbers: NDArray[np.int64] | None = None
    sessions: NDArray[np.int64] | None = None


class Turn(NamedTuple):
    """What finished since the turn before, and the figures of the run.

    batch: see Engine.drain(); empty in the first and in the last turn. histograms: up to HISTOGRAMS_S old.
    state: "running"; in the last turn "finished", or "interrupted" when stop(), an error or too many failed requests ended
    the run.
    """

    batch: _engine.Batch
    counters: _engine.Counters
    histograms: Mapping[str, _engine.Histogram]
    state: str
    engine_stop: Callable[[bool], None]

    @property
    def elapsed_ns(self) -> int:
        """Since the start of the run; 0 before it."""
        start_ns = self.counters["start_mono_ns"]
        return max(0, time.monotonic_ns() - start_ns) if start_ns else 0

    def end(self, now: bool = False) -> None:
        """Enough has come: send no more, and with now=True cut what is in flight. The run counts as finished."""
        self.engine_stop(now)


Subscriber = Callable[[Turn], object]
"""Called with every turn, in the session's thread, one after the other and never two at once."""


class Source(Protocol):
    """Gives a session its requests. The first more() is called where the session is made, the others in its thread,
    each before the subscribers get the same turn."""

    @property
    def n(self) -> int | None:
        """How many requests there are; None when something else ends the run."""

    @property
    def is_timed(self) -> bool:
        """Every block has times. Else none has."""

    @property
    def wait_s(self) -> float:
        """How soon after a turn the next one must come."""

    @property
    def ended(self) -> bool:
        """Asked after more(): nothing will come any more."""

    def more(self, turn: Turn) -> Iterable[Block]:
        """What the engine is to have now, counters["backlog"] requests being with it already."""


class Session:
    """One run of the engine, driven by a thread of its own. Any thread may call anything; any number may run at once.

    config: see load.run.engine_config. is_inside: the server is in this process.
    A session is used once: subscribe(), start(), wait(). An error in the source or in a subscriber ends the run at once;
    the other subscribers still get everything that came, and wait() raises the error.

    Raises UsageError for bad data and when the system has too few files, ports, or too little memory.
    """

    def __init__(self, config: Mapping[str, Any], source: Source, is_inside: bool = False) -> None:
        n_addresses = max(1, len(config["addresses"]))
        limits.make_room(connections(config, source), n_addresses, is_inside)
        self._source = source
        self._snapshots = Snapshots(source.n, config["duration_ns"] / NS or None, source.is_timed)
        self._subscribers: list[Subscriber] = []
        self._lock = threading.RLock()  # of the snapshots and of closing the engine; a signal may come in it
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._is_fed = self._is_closed = self._is_stopped = self._is_told = False
        self._state = "new"
        self._histograms: Mapping[str, _engine.Histogram] = {}
        self._histograms_at = -1.0
        with _limits_told():
            self._engine = _engine_of(config)
        self._counters = self._engine.counters()
        try:
            self._feed(self._turn(NOTHING))
        except BaseException:
            self._close()
            raise

    # ---- for everybody ----

    def subscribe(self, *subscribers: Subscriber) -> None:
        """From now on these get every turn, in this order."""
        self._subscribers.extend(subscribers)

    def start(self, at: float | None = None) -> None:
        """Open the connections and begin to send; returns at once.

        at: when the schedule begins, in s since 1970 (as time.time() gives them). Connections are opened up to 3 s before.
        If the time has passed, or they take longer, the schedule begins as soon as they are open.
        Raises UsageError for a time that is none, and when the system does not give the engine its threads.
        """
        if at is not None and not 0 <= at <= LATEST_S:
            raise UsageError(f"at must be seconds since 1970, as time.time() gives them (got {at})")
        thread = threading.Thread(target=self._drive, name="vllmperf-session", daemon=True)
        try:
            with _limits_told():
                self._engine.start(0 if at is None else round(at * NS))
        except UsageError:
            self._close()
            raise
        self._thread, self._state = thread, "running"
        thread.start()

    def stop(self, now: bool = False) -> None:
        """Send no more, and with now=True cut what is in flight; else it has the grace period. The run counts as
        interrupted. Before the start: it will send nothing."""
        with self._lock:
            if not self._is_closed:
                self._is_stopped = True
                self._engine.stop(now)

    def snapshot(self) -> Snapshot:
        """The run at this moment."""
        with self._lock:
            return self._snapshots.snapshot(self._figures(), self._histograms)

    def counters(self) -> _engine.Counters:
        """The engine's figures at this moment, the last ones after the end."""
        with self._lock:
            return self._figures()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the run; False when it goes on after timeout_s.

        In the main thread Ctrl-C and SIGTERM stop the run meanwhile: once stop(), twice stop(now=True).
        Raises what a subscriber or the source raised, RuntimeError before start().
        """
        if self._thread is None:
            raise RuntimeError("the session has not been started")
        with interruptible(self):
            is_over = self._ended.wait(timeout_s)
        if is_over:
            self._join()
        return is_over

    def run(self, at: float | None = None) -> str:
        """start() and wait(); Ctrl-C and SIGTERM are heard from before the start on. Gives "finished" or "interrupted"."""
        with self:
            with interruptible(self):
                self.start(at)
                self._ended.wait()
            self._join()
        return self.state

    @property
    def state(self) -> str:
        """ "new", "running", "finished" or "interrupted"."""
        return self._state

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """What goes on still is cut. Raises what wait() would raise, unless wait() has raised it."""
        if self._thread is None:
            self._close()
            return
        if not self._ended.is_set():
            self.stop(now=True)
        is_heard = kind is None and not self._is_told
        with contextlib.nullcontext() if is_heard else contextlib.suppress(BaseException):
            self._join()

    def _join(self) -> None:
        self._ended.wait()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            self._is_told = True
            raise self._error

    # ---- the session's thread ----

    def _drive(self) -> None:
        try:
            while (batch := self._engine.drain(self._source.wait_s)) is not None:
                self._take(self._turn(batch))
        except BaseException as error:
            self._fail(error)
        try:
            self._give(self._last_turn())
            self._close()
        finally:
            self._subscribers.clear()  # which hold this session: a run of many parts would keep each one
            self._ended.set()

    def _take(self, turn: Turn) -> None:
        with self._lock:
            self._snapshots.take(turn.batch)
        try:
            self._feed(turn)
        except BaseException as error:
            self._fail(error)
        self._give(turn)

    def _give(self, turn: Turn) -> None:
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(turn)
            except BaseException as error:
                self._subscribers.remove(subscriber)
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._engine.stop(now=True)

    def _turn(self, batch: _engine.Batch) -> Turn:
        counters = self._figures()
        if time.monotonic() >= self._histograms_at:
            self._histograms = self._engine.histograms()
            self._histograms_at = time.monotonic() + HISTOGRAMS_S
        return Turn(batch, counters, self._histograms, "running", self._engine.stop)

    def _last_turn(self) -> Turn:
        self._histograms = self._engine.histograms()
        counters = self._figures()
        is_short = self._is_stopped or self._error is not None or counters["gave_up"] is not None
        self._state = "interrupted" if is_short else "finished"
        return Turn(NOTHING, counters, self._histograms, self._state, self._engine.stop)

    def _figures(self) -> _engine.Counters:
        if not self._is_closed:
            self._counters = self._engine.counters()
        return self._counters

    def _feed(self, turn: Turn) -> None:
        if self._is_fed or self._error is not None:
            return
        for bodies, times_ns, numbers, sessions in self._source.more(turn):
            offsets = np.cumsum([0, *map(len, bodies)], dtype=np.int64)
            of = {} if sessions is None else {"sessions": sessions.tobytes()}
            self._engine.feed(
                b"".join(bodies),
                offsets.tobytes(),
                None if times_ns is None else times_ns.tobytes(),
                None if numbers is None else numbers.tobytes(),
                **of,
            )
        if self._source.ended:
            self._engine.feed_end()
            self._is_fed = True

    def _close(self) -> None:
        with self._lock:
            self._figures()
            self._is_closed = True
            self._engine.close()


def _engine_of(config: Mapping[str, Any]) -> _engine.Engine | EngineGroup:
    """One engine, or one for each of several targets (load.run.engine_config)."""
    if "targets" not in config:
        return _engine.Engine(reach.for_engine(config))
    return EngineGroup(config["targets"], config["cycle"])


@contextlib.contextmanager
def _limits_told() -> Iterator[None]:
    """UsageError when the system does not give the engine what it needs, as for very many threads."""
    try:
        yield
    except TargetError:
        raise
    except (OSError, OverflowError) as error:
        raise SettingError("{error}; lower {threads} or {max_concurrency}", error=error) from None


def connections(config: Mapping[str, Any], source: Source) -> int:
    """How many connections the run surely needs at once. With times and without a limit nobody knows."""
    n = source.n
    at_once = int(config["max_concurrency"]) or (0 if source.is_timed else n or 0)
    if n is not None:
        at_once = min(at_once, n)
    return max(at_once, int(config["warm_connections"]))
