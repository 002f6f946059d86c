"""One run of a plan: makes it ready, warms the server up, and gives the session that carries it out."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from vllmperf.errors import SettingError
from vllmperf.loadgen import resolve
from vllmperf.loadgen.bodies import Body, bodies
from vllmperf.loadgen.engine_group import shares
from vllmperf.loadgen.feed import Feeder
from vllmperf.loadgen.request_id import HEADER, is_uuid_prefix, uuid_prefix
from vllmperf.loadgen.rest import Rest
from vllmperf.loadgen.schedule import Schedule, schedule
from vllmperf.loadgen.session import Session
from vllmperf.loadgen.sessions import SessionFeeder
from vllmperf.loadgen.share import Share, share_of
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan, Target, spread
from vllmperf.target import headers_of, trust

MAX_EVENT_BYTES = 16 << 20
MOST_HINTED = 10_000
NS = 1_000_000_000


class Ready(NamedTuple):
    """A run that could start now. facts: what was settled for it, for the run file."""

    facts: dict[str, Any]
    session: Session
    feeder: Feeder | SessionFeeder


@contextlib.contextmanager
def ready(task: Task, model: str, is_inside: bool = False, rest: Rest | None = None) -> Iterator[Ready]:
    """Make a run, or the rest of one, ready; warm-up requests are sent now. What goes on at the end of the block is cut.

    Raises UsageError for bad data or too few file descriptors, TargetError when the name has no address.
    """
    plan = task.plan
    addresses, when = resolve.usable_addresses(plan.url), schedule(plan)
    settled = {
        "request_id_prefix": rest.request_id_prefix if rest else request_id_prefix(plan),
        "warm_connections": warm_connections(plan, when),
    }
    settled_task = task.replace(**settled)
    config = engine_config(settled_task, addresses, when)
    config["spare_connections"] = keeps_spare(plan, when)
    if has_sessions(plan):
        config |= {"max_concurrency": 0, "keep_text": True, **_session_header(settled_task)}
    if rest:
        when, config["duration_ns"] = rest.schedule(when), rest.duration_ns(plan)
    share = share_of(task)
    if share:
        when, config = share.schedule(when), share.config(config)
    config = spread_over(plan.target, config)
    feeder = _feeder(plan, model, when, rest or share, config["max_concurrency"] or None)
    with Session(config, feeder, is_inside) as session:
        if plan.load.num_warmups:
            warm_up(settled_task, model, addresses)
        facts = {**task.facts(), **settled, "model": model, "num_prompts": feeder.n}
        if has_sessions(plan):
            facts["sessions"] = {"asked": plan.load.num_prompts}
        if caches := _prefix_facts(settled_task, model, addresses):
            facts["prefix_cache"] = caches
        yield Ready(facts, session, feeder)


def has_sessions(plan: Plan) -> bool:
    """Its requests are turns of conversations."""
    return plan.workload.dataset.conversations is not None


def _session_header(task: Task) -> dict[str, str]:
    name = task.plan.workload.session_header
    return {"session_header": f"{name}: {request_id_prefix(task.plan)}"} if name else {}


def _feeder(
    plan: Plan, model: str, when: Schedule, part: Rest | Share | None, cap: int | None
) -> Feeder | SessionFeeder:
    if has_sessions(plan):
        return SessionFeeder(plan, model)
    all_bodies = bodies(plan, model)
    if part is None:
        return Feeder(all_bodies, when, cap)
    return Feeder(part.bodies(all_bodies), when, cap, numbers=part.numbers())


def warm_up(task: Task, model: str, addresses: list[str]) -> None:
    """Send the first request num_warmups times."""
    _send_before(
        task, addresses, task.plan.load.num_warmups, itertools.repeat(next(bodies(task.plan, model)))
    )


def _prefix_facts(task: Task, model: str, addresses: list[str]) -> dict[str, Any] | None:
    """What there is to say of the server's prefix cache; where a hit rate is asked for, it is brought into that state now."""
    work = task.plan.workload
    if work.prefix_hit_rate is None and work.dataset.reuse is None:
        return None
    from vllmperf.loadgen import priming

    if work.prefix_hit_rate is None:
        return priming.by_data(task.plan)
    found = priming.prime(task)
    if found.prompts:
        _send_before(task, addresses, len(found.prompts), bodies(task.plan, model, found.prompts))
    return found.facts


def _send_before(task: Task, addresses: list[str], n: int, first: Iterator[Body]) -> None:
    """Send n requests and throw the answers away. Ctrl-C ends the whole run."""
    plan = task.plan
    few = task.replace(
        num_prompts=n,
        request_rate=float("inf"),
        duration=None,
        until=None,
        arrival=None,
        arrival_file=None,
        burstiness=1.0,
        max_errors=None,
        max_error_rate=None,
        warm_connections=0,
        keep_text=False,
        record_chunks=False,
        request_id_prefix=_warmup_prefix(plan),
    )
    when = schedule(few.plan)
    config = spread_over(plan.target, engine_config(few, addresses, when))
    session = Session(config, Feeder(first, when, plan.load.max_concurrency))
    if session.run() == "interrupted":
        raise KeyboardInterrupt


def warm_connections(plan: Plan, when: Schedule) -> int:
    """How many to open before the start: as asked for, else all of a closed loop. Connecting would be a part of TTFT, and
    a thousand connections at once take a server tens of milliseconds."""
    if plan.load.warm_connections is not None:
        return plan.load.warm_connections
    if plan.load.fresh_connections or when.times is not None:
        return 0
    return min(count for count in (plan.load.max_concurrency, when.n) if count is not None)


def keeps_spare(plan: Plan, when: Schedule) -> bool:
    """Nobody knows how many connections an open loop will need: the engine keeps some ahead."""
    return when.times is not None and plan.load.warm_connections is None and not plan.load.fresh_connections


def in_flight_hint(plan: Plan, when: Schedule) -> int:
    """About how many streams at once, for sizing."""
    if plan.load.max_concurrency:
        return plan.load.max_concurrency
    has_rate = when.times is not None and math.isfinite(plan.load.request_rate)
    many = int(plan.load.request_rate * 10) + 16 if has_rate else MOST_HINTED
    return min(when.n or many, many, MOST_HINTED)


def engine_config(task: Task, addresses: list[str], when: Schedule) -> dict[str, Any]:
    """The engine's view of a task. Raises SettingError when the file of certificates is not there."""
    plan, knobs = task.plan, task.knobs
    sent = headers_of(plan.target, task.credentials)
    _check_cacert(plan.target.cacert)
    trusted = trust.Trust(plan.target.cacert) if plan.target.cacert else trust.system()
    # Without a stream the first byte of the answer is its last: only the total time-out says anything.
    prefix = request_id_prefix(plan)
    first_token_s = plan.limits.first_token_timeout if plan.workload.stream else plan.limits.total_timeout
    return {
        "url": plan.url,
        "addresses": addresses,
        "headers": [f"{name}: {value}" if value else f"{name};" for name, value in sent.items()],
        "request_id_prefix": prefix,
        "uuid_request_ids": is_uuid_prefix(prefix),
        "no_request_ids": any(name.lower() == HEADER for name in sent),
        "warm_url": _origin(plan.url) + "/health",
        "cacert": trusted.file or "",
        "capath": trusted.folder or "",
        "max_concurrency": plan.load.max_concurrency or 0,
        "max_in_flight_hint": in_flight_hint(plan, when),
        "threads": knobs.threads,
        "multis": 0,
        "warm_connections": plan.load.warm_connections or 0,
        "spin_ns": round(knobs.spin_us * 1e3),
        "connect_timeout_ns": round(plan.limits.connect_timeout * NS),
        "first_token_timeout_ns": round(first_token_s * NS),
        "stall_timeout_ns": round(plan.limits.stall_timeout * NS),
        "total_timeout_ns": round(plan.limits.total_timeout * NS),
        "duration_ns": round((plan.load.duration or 0) * NS),
        "grace_ns": round(plan.limits.grace_period * NS),
        "max_event_bytes": MAX_EVENT_BYTES,
        "max_errors": plan.limits.max_errors or 0,
        "max_recent_errors": plan.limits.max_recent_errors,
        "kernel_stamps": knobs.kernel_stamps,
        "keep_text": knobs.keep_text,
        "keep_stamps": knobs.record_chunks,
        "insecure": plan.target.insecure,
        "fresh_connections": plan.load.fresh_connections,
    }


SPLIT = ("max_concurrency", "warm_connections", "max_in_flight_hint")
"""Of these each target has its share."""


def spread_over(target: Target, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration, with one for each of several targets beside it. Raises SettingError, or TargetError when a name has no
    address."""
    if not target.other_urls:
        return config
    weights = target.all_weights
    if 0 < config["max_concurrency"] < len(weights):
        raise SettingError(
            "{max_concurrency} must be at least 1 for each of the {n} targets (got {got})",
            n=len(weights),
            got=config["max_concurrency"],
        )
    own = {name: shares(config[name], weights) for name in SPLIT}
    configs = [
        {
            **config,
            **{name: own[name][i] for name in SPLIT},
            "url": one.url,
            "warm_url": _origin(one.url) + "/health",
            "addresses": resolve.usable_addresses(one.url),
        }
        for i, one in enumerate(target.each)
    ]
    return {**config, "targets": configs, "cycle": spread.cycle(weights)}


def _check_cacert(path: str | None) -> None:
    if path and not Path(path).is_file():
        raise SettingError("{cacert}: there is no file {path}", path=path)


def request_id_prefix(plan: Plan) -> str:
    """As asked for; else of a UUID, which some servers demand, and of this run alone: a server may mix up requests of two
    clients that have the same id."""
    return uuid_prefix() if plan.workload.request_id_prefix is None else plan.workload.request_id_prefix


def _warmup_prefix(plan: Plan) -> str:
    prefix = request_id_prefix(plan)
    return uuid_prefix() if is_uuid_prefix(prefix) else prefix + "warmup-"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
