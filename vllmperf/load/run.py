"""One run: feeds the engine, takes what is finished, writes it down, says how it goes, and ends on Ctrl-C."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from vllmperf import _engine
from vllmperf.load import ask, resolve
from vllmperf.load.progress import Snapshot
from vllmperf.load.schedule import offsets_ns, trace_length
from vllmperf.load.workload import bodies
from vllmperf.plan import Plan

DRAIN_S = 0.25
BLOCK_REQUESTS = 256
BLOCK_BYTES = 8 << 20
AHEAD_S = 5.0
"""The backlog of an endless run covers this long."""
MAX_EVENT_BYTES = 16 << 20
NS = 1_000_000_000


class Writer(Protocol):
    """What takes the results (vllmperf.record.RunWriter)."""

    def append(self, batch: _engine.Batch) -> None: ...
    def checkpoint(self, counters: Any, histograms: Any) -> None: ...
    def finish(self, state: str, counters: Any, histograms: Any) -> None: ...


Progress = Callable[[Snapshot], None]


def planned_requests(plan: Plan) -> int | None:
    """How many requests the plan asks for; None when only time ends it."""
    limits = [plan.num_prompts] if plan.num_prompts is not None else []
    if plan.arrival == "trace":
        limits.append(trace_length_of(plan))
    elif plan.is_open_loop and plan.duration_s is not None:
        limits.append(max(1, round(plan.request_rate * plan.duration_s)))
    return min(limits) if limits else None


def trace_length_of(plan: Plan) -> int:
    from pathlib import Path

    return trace_length(Path(plan.arrival_file or ""))


def in_flight_hint(plan: Plan) -> int:
    """About how many streams at once, for sizing."""
    if plan.max_concurrency:
        return plan.max_concurrency
    if plan.is_open_loop and plan.arrival != "trace":
        return min(planned_requests(plan) or 10_000, int(plan.request_rate * 10) + 16, 10_000)
    return min(planned_requests(plan) or 1000, 10_000)


def engine_config(plan: Plan, addresses: list[str]) -> dict[str, Any]:
    """The engine's view of a plan."""
    # Without a stream the first byte of the answer is its last: only the total time-out says anything.
    first_token_s = plan.first_token_timeout_s if plan.stream else plan.total_timeout_s
    return {
        "url": plan.url,
        "addresses": addresses,
        "headers": [f"{name}: {value}" if value else f"{name};" for name, value in ask.headers(plan).items()],
        "request_id_prefix": plan.request_id_prefix,
        "warm_url": _origin(plan.url) + "/health",
        "cacert": plan.cacert or "",
        "max_concurrency": plan.max_concurrency or 0,
        "max_in_flight_hint": in_flight_hint(plan),
        "threads": plan.threads,
        "multis": 0,
        "warm_connections": plan.warm_connections,
        "spin_ns": round(plan.spin_us * 1e3),
        "connect_timeout_ns": round(plan.connect_timeout_s * NS),
        "first_token_timeout_ns": round(first_token_s * NS),
        "stall_timeout_ns": round(plan.stall_timeout_s * NS),
        "total_timeout_ns": round(plan.total_timeout_s * NS),
        "duration_ns": round((plan.duration_s or 0) * NS),
        "grace_ns": round(plan.grace_period_s * NS),
        "max_event_bytes": MAX_EVENT_BYTES,
        "kernel_stamps": plan.kernel_stamps,
        "keep_text": plan.keep_text,
        "keep_stamps": plan.record_chunks,
        "insecure": plan.insecure,
        "fresh_connections": False,
    }


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


# ---- feeding ----


class Feeder:
    """Builds request bodies a little ahead of the engine, so that memory does not grow with the run."""

    def __init__(self, plan: Plan, model: str, engine: _engine.Engine) -> None:
        self._engine = engine
        n = planned_requests(plan)
        self._bodies: Iterator[bytes] = itertools.islice(bodies(plan, model), n)
        self._times = offsets_ns(plan, n) if n is not None and plan.is_open_loop else None
        rate = plan.request_rate if plan.is_open_loop and plan.arrival != "trace" else 0.0
        self._ahead = max(4 * BLOCK_REQUESTS, 2 * (plan.max_concurrency or 0), int(AHEAD_S * rate))
        self._fed = 0
        self.ended = False

    def feed(self, backlog: int) -> None:
        """Top the engine's backlog up."""
        while not self.ended and backlog < self._ahead:
            block = list(_block(self._bodies))
            if not block:
                self._engine.feed_end()
                self.ended = True
                return
            offsets = np.cumsum([0, *map(len, block)], dtype=np.int64)
            times = None if self._times is None else self._times[self._fed : self._fed + len(block)].tobytes()
            self._engine.feed(b"".join(block), offsets.tobytes(), times)
            self._fed += len(block)
            backlog += len(block)


def _block(source: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for body in itertools.islice(source, BLOCK_REQUESTS):
        yield body
        size += len(body)
        if size >= BLOCK_BYTES:
            return


# ---- Ctrl-C ----


@contextlib.contextmanager
def interruptible(engine: _engine.Engine) -> Iterator[Counter[str]]:
    """Ctrl-C once: send no more, keep what comes within the grace period. Twice: cut what is in flight. Counts them."""
    pressed: Counter[str] = Counter()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def on_interrupt(_number: int, _frame: object) -> None:
        pressed["times"] += 1
        engine.stop(now=pressed["times"] > 1)

    before = {number: signal.signal(number, on_interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- the live figures ----


class Watch:
    """Turns drained batches and counters into snapshots."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._asked = planned_requests(plan)
        self._outcomes: Counter[int] = Counter()
        self._ttft = _engine.Histogram()
        self._tokens = 0
        self._dtype = np.dtype(_engine.RECORD_DTYPE)

    def take(self, batch: _engine.Batch) -> None:
        """Count a batch."""
        records = np.frombuffer(batch["records"], dtype=self._dtype)
        numbers, counts = np.unique(records["outcome"], return_counts=True)
        self._outcomes.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        tokens = records["output_tokens"]
        self._tokens += int(tokens[tokens != _engine.NONE].sum())
        started = records[records["first_token_ns"] != _engine.NONE]
        self._ttft.add(np.ascontiguousarray(started["first_token_ns"] - started["sent_ns"]))

    def snapshot(self, counters: _engine.Counters, histograms: dict[str, _engine.Histogram]) -> Snapshot:
        """The run now."""
        start_ns = counters["start_mono_ns"]
        elapsed_s = max(0.0, (time.monotonic_ns() - start_ns) / NS) if start_ns else 0.0
        errors = {_engine.OUTCOMES[number]: n for number, n in self._outcomes.items() if number != 0}
        return Snapshot(
            elapsed_s=elapsed_s,
            asked=self._asked,
            sent=counters["sent"],
            in_flight=counters["in_flight"],
            done=counters["done"],
            completed=counters["completed"],
            errors=errors,
            output_tokens_per_s=self._tokens / elapsed_s if elapsed_s > 0 and self._tokens else None,
            ttft_ms_p50=_ms(self._ttft, 0.5),
            ttft_ms_p99=_ms(self._ttft, 0.99),
            client_lag_ms_p99=_ms(histograms["client_lag"], 0.99),
            time_left_s=self._time_left_s(elapsed_s, counters["done"]),
            state=counters["state"],
        )

    def _time_left_s(self, elapsed_s: float, done: int) -> float | None:
        left = []
        if self._plan.duration_s is not None:
            left.append(max(0.0, self._plan.duration_s - elapsed_s))
        if self._asked and done:
            left.append(elapsed_s / done * (self._asked - done))
        return min(left) if left else None


def _ms(histogram: _engine.Histogram, q: float) -> float | None:
    return histogram.quantile(q) / 1e6 if histogram.count else None


# ---- the run ----


def execute(plan: Plan, model: str, writer: Writer, progress: Progress | None = None) -> str:
    """Run the plan and write everything down. Returns "finished" or "interrupted".

    Raises TargetError when the server's name has no address, UsageError for too few file descriptors or bad data.
    """
    addresses = resolve.usable_addresses(plan.url)
    resolve.raise_file_limit(max(in_flight_hint(plan) if plan.max_concurrency else 0, plan.warm_connections))
    engine = _engine.Engine(engine_config(plan, addresses))
    try:
        feeder = Feeder(plan, model, engine)
        feeder.feed(0)
        return _drive(plan, engine, feeder, writer, progress)
    finally:
        engine.close()


def _drive(
    plan: Plan, engine: _engine.Engine, feeder: Feeder, writer: Writer, progress: Progress | None
) -> str:
    watch = Watch(plan)
    checkpoint_at = 0.0
    with interruptible(engine) as pressed:
        engine.start()
        while (batch := engine.drain(DRAIN_S)) is not None:
            counters = engine.counters()
            feeder.feed(counters["backlog"])
            writer.append(batch)
            watch.take(batch)
            histograms = engine.histograms()
            if time.monotonic() >= checkpoint_at:
                writer.checkpoint(counters, histograms)
                checkpoint_at = time.monotonic() + 1.0
            if progress is not None:
                progress(watch.snapshot(counters, histograms))
    state = "interrupted" if pressed["times"] else "finished"
    writer.finish(state, engine.counters(), engine.histograms())
    return state
