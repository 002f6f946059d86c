"""One run of a plan: makes it ready, warms the server up, and gives the session that carries it out."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from vllmperf.load import resolve
from vllmperf.load.bodies import bodies
from vllmperf.load.feed import Feeder
from vllmperf.load.request_id import HEADER, is_uuid_prefix, uuid_prefix
from vllmperf.load.schedule import Schedule, schedule
from vllmperf.load.session import Session
from vllmperf.plan import Plan
from vllmperf.target import headers_of

MAX_EVENT_BYTES = 16 << 20
MOST_HINTED = 10_000
NS = 1_000_000_000


@dataclass(frozen=True)
class Ready:
    """A run that could start now. plan: as the run file is to have it."""

    plan: Plan
    session: Session
    feeder: Feeder


@contextlib.contextmanager
def ready(plan: Plan, model: str) -> Iterator[Ready]:
    """Make a run ready; warm-up requests are sent now. What goes on at the end of the block is cut.

    Raises UsageError for bad data or too few file descriptors, TargetError when the name has no address.
    """
    addresses = resolve.usable_addresses(plan.url)
    plan = replace(plan, request_id_prefix=request_id_prefix(plan))  # so that the run file holds it
    when = schedule(plan)
    config = {"spare_connections": keeps_spare(plan, when)}
    plan = replace(plan, warm_connections=warm_connections(plan, when))
    config |= engine_config(plan, addresses, when)
    feeder = Feeder(bodies(plan, model), when, plan.max_concurrency)
    with Session(config, feeder, is_inside=plan.simulator is not None) as session:
        if plan.num_warmups:
            warm_up(plan, model, addresses)
        yield Ready(plan, session, feeder)


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
    when, first = schedule(few), next(bodies(few, model))
    session = Session(
        engine_config(few, addresses, when), Feeder(itertools.repeat(first), when, few.max_concurrency)
    )
    if session.run() == "interrupted":
        raise KeyboardInterrupt


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
    has_rate = when.times is not None and math.isfinite(plan.request_rate)
    many = int(plan.request_rate * 10) + 16 if has_rate else MOST_HINTED
    return min(when.n or many, many, MOST_HINTED)


def engine_config(plan: Plan, addresses: list[str], when: Schedule) -> dict[str, Any]:
    """The engine's view of a plan."""
    # Without a stream the first byte of the answer is its last: only the total time-out says anything.
    prefix = request_id_prefix(plan)
    first_token_s = plan.first_token_timeout_s if plan.stream else plan.total_timeout_s
    return {
        "url": plan.url,
        "addresses": addresses,
        "headers": [f"{name}: {value}" if value else f"{name};" for name, value in headers_of(plan).items()],
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
