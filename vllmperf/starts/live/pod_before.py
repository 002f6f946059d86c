"""What happens to a pod before its server runs: scheduling, volumes, image pulls, init containers, container starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vllmperf.starts.live import pod_events, pod_status
from vllmperf.starts.live.pod_status import not_before
from vllmperf.starts.result import NS_PER_S, Phase

Json = Mapping[str, Any]


@dataclass(frozen=True)
class _Instants:
    """When things happened on the node. A whole second that began before the scheduling counts from the scheduling."""

    scheduled: int | None
    sandbox: int | None
    pulling: int | None
    pulls: list[pod_events.Pull]
    inits: list[pod_status.Ran]
    started: dict[str, int]  # the first start of each container
    current: int | None  # the start of the server's last try

    def until_work(self) -> int | None:
        """The end of volumes and sandbox: said so, or seen by what comes after."""
        work = [*(pull.start_ns for pull in self.pulls), *(init.start_ns for init in self.inits)]
        work += [self.sandbox, self.pulling, *self.started.values()]
        return min((at for at in work if at is not None), default=None)


def _instants(pod: Json, events: list[Json], container: str) -> _Instants:
    scheduled = _scheduled(pod, events)

    def after(at_ns: int | None) -> int | None:
        return None if at_ns is None else not_before(at_ns, scheduled)

    pulls = [
        replace(pull, start_ns=after(pull.start_ns), end_ns=not_before(pull.end_ns, scheduled))
        for pull in pod_events.pulls(events)
    ]
    inits = [
        replace(init, start_ns=not_before(init.start_ns, scheduled), end_ns=after(init.end_ns))
        for init in pod_status.init_containers(pod)
    ]
    started = pod_status.first_starts(pod)
    if (first := _first_started(pod, events, container)) is not None:
        started[container] = first
    current = pod_status.current(pod, container)
    return _Instants(
        scheduled,
        after(pod_status.condition_ns(pod, "PodReadyToStartContainers")),
        after(pod_events.pulling_ns(events)),
        pulls,
        inits,
        {name: not_before(at, scheduled) for name, at in started.items()},
        after(current.start_ns) if current else None,
    )


def before_container(
    pod: Json, events: list[Json], container: str, now_ns: int | None
) -> tuple[list[Phase], int | None]:
    """created → scheduled → volumes → pulls and init containers → the server's container started; and the instant at
    which its last try started."""
    at = _instants(pod, events, container)
    first = at.started.get(container)
    phases = _span("scheduling", pod_status.created_ns(pod), at.scheduled, "status")
    phases += _span("volumes", at.scheduled, at.until_work(), "status")
    phases += [_pull_phase(pull, first) for pull in at.pulls]
    phases += _pull_without_event(pod, events, container, at.pulls, now_ns)
    for init in at.inits:
        again = f", {init.restarts} restarts" if init.restarts else ""
        phases += _span("init_containers", init.start_ns, init.end_ns, "status", init.name + again)
    phases += _container_starts(at, container)
    return phases + _earlier_attempts(pod, container, first), at.current


def _container_starts(at: _Instants, container: str) -> list[Phase]:
    """From a container's image being there to its start: of the server's and of those that start before it."""
    first = at.started.get(container)
    pulled = {pull.container: pull.end_ns for pull in at.pulls}
    ends = [*pulled.values(), *(init.end_ns for init in at.inits), at.until_work()]
    phases = []
    for name, start in at.started.items():
        if first is not None and start > first:
            continue
        before = [end for end in ends if end is not None and end <= start]
        begin = pulled[name] if pulled.get(name, start) < start else max(before, default=None)
        phases += _span("container_start", begin, start, "status", None if name == container else name)
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


def _earlier_attempts(pod: Json, container: str, first_ns: int | None) -> list[Phase]:
    now = pod_status.current(pod, container)
    if now is None or first_ns is None or first_ns >= now.start_ns:
        return []
    count = f"{now.restarts} restart{'s' if now.restarts > 1 else ''}"
    return [Phase("earlier_attempts", first_ns, now.start_ns, "status", 1.0, detail=count)]
