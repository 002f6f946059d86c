"""One run: makes it ready, drives the engine, writes down what is finished, says how it goes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

from vllmperf import _engine
from vllmperf.errors import UsageError
from vllmperf.load import limits, resolve
from vllmperf.load.feed import Feeder
from vllmperf.load.headers import headers
from vllmperf.load.interrupt import interruptible
from vllmperf.load.progress import Snapshot
from vllmperf.load.request_id import HEADER, is_uuid_prefix, uuid_prefix
from vllmperf.load.schedule import Schedule, schedule
from vllmperf.load.watch import Watch
from vllmperf.plan import Plan

DRAIN_S = 0.5
CHECKPOINT_S = 2.0
MAX_EVENT_BYTES = 16 << 20
MOST_HINTED = 10_000
NS = 1_000_000_000

Progress = Callable[[Snapshot], None]
Enough = Callable[["_engine.Batch", "_engine.Counters"], "bool | str"]
"""Asked after each batch of finished requests: True ends the run at once, DRAIN sends no more and leaves what is in flight
the grace period."""
DRAIN = "drain"


class Writer(Protocol):
    """What takes the results (vllmperf.record.writer.RunWriter)."""

    def append(self, batch: _engine.Batch) -> None: ...
    def checkpoint(
        self, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]
    ) -> None: ...
    def finish(
        self, state: str, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]
    ) -> None: ...


@dataclass(frozen=True)
class Ready:
    """A run that could start now: names resolved, limits raised, the first requests with the engine."""

    plan: Plan
    asked: int | None
    engine: _engine.Engine
    feeder: Feeder


@contextlib.contextmanager
def ready(plan: Plan, model: str) -> Iterator[Ready]:
    """Make a run ready; warm-up requests are sent now.

    Raises UsageError for bad data or too few file descriptors, TargetError when the name has no address.
    """
    addresses = resolve.usable_addresses(plan.url)
    plan = replace(plan, request_id_prefix=request_id_prefix(plan))  # so that the run file holds it
    when = schedule(plan)
    spare = keeps_spare(plan, when)
    plan = replace(plan, warm_connections=warm_connections(plan, when))
    limits.make_room(connections(plan, when), max(len(addresses), 1), plan.simulator is not None)
    if plan.num_warmups:
        warm_up(plan, model, addresses)
    config = {**engine_config(plan, addresses, when), "spare_connections": spare}
    with contextlib.closing(make_engine(config)) as engine:
        feeder = Feeder(plan, model, when, engine)
        feeder.feed(0)
        yield Ready(plan, when.n, engine, feeder)


def execute(
    run: Ready, writer: Writer, progress: Progress | None = None, enough: Enough | None = None
) -> str:
    """Carry a run out and write everything down. Gives "finished" or "interrupted"."""
    engine, watch = run.engine, Watch(run.asked, run.plan.duration_s)
    checkpoint_at, histograms = 0.0, {}
    with interruptible(engine) as interrupts:
        with _limits_told():
            engine.start()
        while (batch := engine.drain(DRAIN_S)) is not None:
            counters = engine.counters()
            run.feeder.feed(counters["backlog"], elapsed_ns(counters))
            writer.append(batch)
            watch.take(batch)
            if enough is not None and (end := enough(batch, counters)):
                engine.stop(now=end != DRAIN)
            if time.monotonic() >= checkpoint_at:
                histograms = engine.histograms()
                writer.checkpoint(counters, histograms)
                checkpoint_at = time.monotonic() + CHECKPOINT_S
            if progress is not None:
                progress(watch.snapshot(counters, histograms))
        state = "interrupted" if interrupts else "finished"
        # the environment was written at the start; this is how busy the machine was by the end
        writer.finish(
            state, {**engine.counters(), "load_average_after": os.getloadavg()}, engine.histograms()
        )
    return state


def elapsed_ns(counters: _engine.Counters) -> int:
    """Since the start of the run; 0 before it."""
    return time.monotonic_ns() - counters["start_mono_ns"] if counters["start_mono_ns"] else 0


def warm_up(plan: Plan, model: str, addresses: list[str]) -> None:
    """Send the first request num_warmups times and throw the answers away. Ctrl-C ends the whole run."""
    few = replace(
        plan,
        num_prompts=plan.num_warmups,
        request_rate=float("inf"),
        duration_s=None,
        arrival=None,
        arrival_file=None,
        burstiness=1.0,
        warm_connections=0,
        keep_text=False,
        record_chunks=False,
        request_id_prefix=_warmup_prefix(plan),
    )
    with contextlib.closing(make_engine(engine_config(few, addresses, schedule(few)))) as engine:
        feeder = Feeder(few, model, schedule(few), engine, repeat_first=True)
        feeder.feed(0)
        with interruptible(engine) as interrupts:
            engine.start()
            while engine.drain(DRAIN_S) is not None:
                feeder.feed(engine.counters()["backlog"])
    if interrupts:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _limits_told() -> Iterator[None]:
    """UsageError when the system does not give the engine what it needs, as for very many threads."""
    try:
        yield
    except (OSError, OverflowError) as error:
        raise UsageError(f"{error}; lower --threads or --max-concurrency") from None


def make_engine(config: dict[str, Any]) -> _engine.Engine:
    """An engine. Raises UsageError when the system has too few files or too little memory for it."""
    with _limits_told():
        return _engine.Engine(config)


def connections(plan: Plan, when: Schedule) -> int:
    """How many connections the run surely needs at once."""
    all_at_once = when.n or 0 if when.times is None else 0
    at_once = plan.max_concurrency or all_at_once
    if when.n is not None:
        at_once = min(at_once, when.n)
    return max(at_once, plan.warm_connections or 0)


def warm_connections(plan: Plan, when: Schedule) -> int:
    """How many to open before the start: as asked for, else all of a closed loop. Connecting would be a part of TTFT, and
    a thousand connections at once take a server tens of milliseconds."""
    if plan.warm_connections is not None:
        return plan.warm_connections
    if plan.fresh_connections or when.times is not None:
        return 0
    return min(count for count in (plan.max_concurrency, when.n) if count is not None)


def keeps_spare(plan: Plan, when: Schedule) -> bool:
    """Nobody knows how many connections an open loop will need: the engine keeps some ahead."""
    return when.times is not None and plan.warm_connections is None and not plan.fresh_connections


def in_flight_hint(plan: Plan, when: Schedule) -> int:
    """About how many streams at once, for sizing."""
    if plan.max_concurrency:
        return plan.max_concurrency
    many = (
        int(plan.request_rate * 10) + 16
        if plan.arrival != "trace" and when.times is not None
        else MOST_HINTED
    )
    return min(when.n or many, many, MOST_HINTED)


def engine_config(plan: Plan, addresses: list[str], when: Schedule) -> dict[str, Any]:
    """The engine's view of a plan."""
    # Without a stream the first byte of the answer is its last: only the total time-out says anything.
    prefix = request_id_prefix(plan)
    first_token_s = plan.first_token_timeout_s if plan.stream else plan.total_timeout_s
    return {
        "url": plan.url,
        "addresses": addresses,
        "headers": [f"{name}: {value}" if value else f"{name};" for name, value in headers(plan).items()],
        "request_id_prefix": prefix,
        "uuid_request_ids": is_uuid_prefix(prefix),
        "no_request_ids": any(name.lower() == HEADER for name in plan.headers),
        "warm_url": _origin(plan.url) + "/health",
        "cacert": plan.cacert or "",
        "max_concurrency": plan.max_concurrency or 0,
        "max_in_flight_hint": in_flight_hint(plan, when),
        "threads": plan.threads,
        "multis": 0,
        "warm_connections": plan.warm_connections or 0,
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
        "fresh_connections": plan.fresh_connections,
    }


def request_id_prefix(plan: Plan) -> str:
    """As asked for; else of a UUID, which some servers demand, and of this run alone: a server may mix up requests of two
    clients that have the same id."""
    return uuid_prefix() if plan.request_id_prefix is None else plan.request_id_prefix


def _warmup_prefix(plan: Plan) -> str:
    prefix = request_id_prefix(plan)
    return uuid_prefix() if is_uuid_prefix(prefix) else prefix + "warmup-"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
