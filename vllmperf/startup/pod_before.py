"""What happens to a pod before its server runs: scheduling, volumes, image pulls, init containers, container starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vllmperf.startup import pod_events, pod_status
from vllmperf.startup.pod_status import not_before
from vllmperf.startup.result import NS_PER_S, Phase

Json = Mapping[str, Any]


def before_container(pod: Json, events: list[Json], container: str, now_ns: int | None) -> list[Phase]:
    """created → scheduled → volumes → pulls and init containers → the server's container started."""
    created, scheduled = pod_status.created_ns(pod), _scheduled(pod, events)
    pulls = [_after(pull, scheduled) for pull in pod_events.pulls(events)]
    inits = pod_status.init_containers(pod)
    first = _first_started(pod, events, container)
    begun = pod_events.pulling_ns(events)
    work = [*(pull.start_ns for pull in pulls), *(init.start_ns for init in inits), begun, first]
    work_ns = min((at for at in work if at is not None), default=None)
    sandbox = pod_status.condition_ns(pod, "PodReadyToStartContainers")
    until = min((at for at in (sandbox, work_ns) if at is not None), default=None)
    phases = _span("scheduling", created, scheduled, "status")
    phases += _span("volumes", scheduled, until, "status")
    phases += [_pull_phase(pull, first) for pull in pulls]
    phases += _pull_without_event(pod, events, container, pulls, now_ns)
    for init in inits:
        again = f", {init.restarts} restarts" if init.restarts else ""
        phases += _span("init_containers", init.start_ns, init.end_ns, "status", init.name + again)
    phases += _container_starts(pod, container, first, pulls, [until, *(init.end_ns for init in inits)])
    return phases + _earlier_tries(pod, container, first)


def _container_starts(
    pod: Json,
    container: str,
    first_ns: int | None,
    pulls: list[pod_events.Pull],
    ends: list[int | None],
) -> list[Phase]:
    """From a container's image being there to its start: of the server's and of those that start before it."""
    pulled = {pull.container: pull.end_ns for pull in pulls}
    started = pod_status.first_starts(pod) | ({container: first_ns} if first_ns is not None else {})
    phases = []
    for name, at in started.items():
        if first_ns is not None and at > first_ns:
            continue
        before = [end for end in (pulled.get(name), *pulled.values(), *ends) if end is not None and end <= at]
        begin = pulled[name] if pulled.get(name, at) < at else max(before, default=None)
        phases += _span("container_start", begin, at, "status", None if name == container else name)
    return phases


def _span(
    name: str, start: int | None, end: int | None, source: str, detail: str | None = None
) -> list[Phase]:
    """A phase between two whole-second times; nothing while either is unknown."""
    if start is None or end is None:
        return []
    return (
        [Phase(name, start, not_before(end, start), source, 1.0, detail=detail)]
        if end > start - NS_PER_S
        else []
    )


def _scheduled(pod: Json, events: list[Json]) -> int | None:
    """The condition's second, made finer by the scheduler's own event of microseconds when it lies in it."""
    whole = pod_status.condition_ns(pod, "PodScheduled")
    for event in events:
        at = pod_events.first_ns(event)
        if (
            event.get("reason") == "Scheduled"
            and whole is not None
            and at is not None
            and 0 <= at - whole < NS_PER_S
        ):
            return at
    return whole


def _after(pull: pod_events.Pull, scheduled_ns: int | None) -> pod_events.Pull:
    """The pull in the order of things: the second that its event names may have begun before the scheduling."""
    start = None if pull.start_ns is None else not_before(pull.start_ns, scheduled_ns)
    return replace(pull, start_ns=start, end_ns=not_before(pull.end_ns, scheduled_ns))


def _pull_phase(pull: pod_events.Pull, first_ns: int | None) -> Phase:
    is_before = first_ns is None or pull.end_ns < first_ns + NS_PER_S
    return Phase(
        "image_pull",
        pull.start_ns,
        pull.end_ns,
        "event",
        1.0,
        critical=is_before,
        reported_s=pull.seconds,
        detail=f"{pull.container}: {_pull_words(pull)}",
    )


def _pull_words(pull: pod_events.Pull) -> str:
    if pull.is_present:
        return "was on the node"
    words = ["pulled"]
    if pull.waiting_s is not None:
        words.append(f"{pull.waiting_s:g} s with waiting")
    if pull.bytes is not None:
        words.append(f"{pull.bytes:,} bytes")
    return ", ".join(words)


def _pull_without_event(
    pod: Json, events: list[Json], container: str, pulls: list[pod_events.Pull], now_ns: int | None
) -> list[Phase]:
    """A pull that still goes on, or one whose event is gone: missing, which is not 0."""
    if any(pull.container == container for pull in pulls):
        return []
    begun = pod_events.pulling_ns(events, container)
    if begun is not None and pod_status.current(pod, container) is None:
        until = None if now_ns is None else max(begun, now_ns)
        return [Phase("image_pull", begun, until, "event", 1.0, detail=f"{container}: going on")]
    if pod_status.current(pod, container) is None:
        return []
    return [Phase("image_pull", None, None, "event", None, detail=f"{container}: no event of it any more")]


def _first_started(pod: Json, events: list[Json], container: str) -> int | None:
    """When the server's container started for the first time."""
    now = pod_status.current(pod, container)
    if now is None or not now.restarts:
        return now.start_ns if now else None
    before = pod_status.previous(pod, container)
    told = [
        at
        for event in events
        if event.get("reason") == "Started" and pod_events.container(event) == container
        if (at := pod_events.first_ns(event)) is not None
    ]
    return min([*told, before.start_ns if before else now.start_ns])


def _earlier_tries(pod: Json, container: str, first_ns: int | None) -> list[Phase]:
    now = pod_status.current(pod, container)
    if now is None or first_ns is None or first_ns >= now.start_ns:
        return []
    count = f"{now.restarts} restart{'s' if now.restarts > 1 else ''}"
    return [Phase("earlier_tries", first_ns, now.start_ns, "status", 1.0, detail=count)]
