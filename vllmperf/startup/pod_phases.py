"""One start of one pod, from *created* to *first token* or Ready: status, events, log and probes in one waterfall.

Pure: what was read from the API goes in as plain dicts. Kubernetes' times are whole seconds (cut, not rounded) of
several clocks: API server and scheduler, the node, and this machine. No span is ever negative; where the clocks
cannot be brought together a note says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.startup import pod_events, pod_status
from vllmperf.startup.join import Seen, after_log, end_of, imports, log_phases
from vllmperf.startup.pod_status import not_before
from vllmperf.startup.result import NS_PER_S, Failure, Phase, Start, StartupLog
from vllmperf.startup.waterfall import fill

Json = Mapping[str, Any]
Fact = str | int | float | None
WATCH_LATE_NS = 3 * NS_PER_S
FLIP_NS = 60 * NS_PER_S
WATCH_RESOLUTION_S = 0.1


@dataclass(frozen=True)
class PodSeen:
    """What this machine saw: Ready True by watch, first 200 on /health, first request and token (None: not)."""

    ready_ns: int | None = None
    health_ns: int | None = None
    first_request_ns: int | None = None
    first_token_ns: int | None = None
    poll_s: float | None = None


@dataclass(frozen=True)
class Told:
    """What the watcher adds: why it failed, earlier tries, where the log lies, and the instant of this report."""

    failure: Failure | None = None
    evidence: tuple[str, ...] = ()
    earlier: tuple[Start, ...] = ()
    log_path: str | None = None
    group: str | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Fact] | None = None
    now_ns: int | None = None


def pod_start(
    pod: Json,
    events: Iterable[Json],
    container: str,
    log: StartupLog | None = None,
    seen: PodSeen | None = None,
    told: Told | None = None,
) -> Start:
    """The start of the pod's server container that runs now (or ran last); `container` as `containers.choose` gives.

    A start that is not at its end yet has `reached` False and ends at `told.now_ns` (None: open, for the live view).
    """
    seen, told = seen or PodSeen(), told or Told()
    mine = pod_events.of_pod(events, pod)
    ready = _ready(pod, container, log, seen)
    joined = Seen(
        ready_ns=seen.health_ns if seen.health_ns is not None else ready.ns,
        ready_source="probe" if seen.health_ns is not None else ready.source,
        ready_resolution_s=seen.poll_s if seen.health_ns is not None else ready.resolution_s,
        first_request_ns=seen.first_request_ns,
        first_token_ns=seen.first_token_ns,
    )
    before = _before_container(pod, mine, container, told)
    started = pod_status.current(pod, container)
    phases = [
        *before,
        *imports(started.start_ns if started else None, log, joined, 1.0, _is_open(told, joined)),
        *log_phases(log),
        *after_log(log, joined),
    ]
    if seen.health_ns is not None and ready.ns is not None and log is not None and log.ready_ns is not None:
        start = min(log.ready_ns, ready.ns)
        phases.append(Phase("ready", start, ready.ns, ready.source, ready.resolution_s, critical=False,
                            detail="Ready of the pod"))  # fmt: skip
    origin_ns = pod_status.created_ns(pod)
    end, end_ns = end_of(joined, log)
    reached = told.failure is None and joined.ready_ns is not None
    if not reached:
        end_ns = told.now_ns if told.failure is None else _failed_ns(started, log, told)
    notes = (*told.notes, *ready.notes, *_clock_notes(pod, mine, started, log, ready))
    return Start(
        name=str(pod["metadata"]["name"]),
        origin="created",
        end=end,
        origin_ns=origin_ns,
        end_ns=end_ns,
        phases=fill(phases, origin_ns, end_ns),
        group=told.group,
        reached=reached,
        failure=told.failure,
        log=log,
        log_path=told.log_path,
        restarts=pod_status.restarts(pod, container),
        earlier=told.earlier,
        facts={**_facts(pod, mine, container, ready), **(told.facts or {})},
        evidence=told.evidence,
        notes=notes,
    )


def _is_open(told: Told, joined: Seen) -> bool:
    return told.now_ns is None and told.failure is None and joined.ready_ns is None


def _failed_ns(started: pod_status.Ran | None, log: StartupLog | None, told: Told) -> int | None:
    """When a failed start ended: its container's end, else its last line, else now."""
    ended = started.end_ns if started else None
    said = log.last_log_ns if log else None
    if ended is not None:
        return not_before(ended, said)
    return told.now_ns if told.now_ns is not None else said


def _before_container(pod: Json, events: list[Json], container: str, told: Told) -> list[Phase]:
    """created → scheduled → volumes → pulls and init containers → the server's container started."""
    created, scheduled = pod_status.created_ns(pod), _scheduled(pod, events)
    pulls = pod_events.pulls(events)
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
    phases += _pull_without_event(pod, events, container, pulls, told)
    for init in inits:
        again = f", {init.restarts} restarts" if init.restarts else ""
        phases += _span("init_containers", init.start_ns, init.end_ns, "status", init.name + again)
    ends = [*(pull.end_ns for pull in pulls), *(init.end_ns for init in inits), until]
    if first is not None:
        there = max((at for at in ends if at is not None and at <= first), default=None)
        phases += _span("container_start", there, first, "status")
    return phases + _earlier_tries(pod, container, first)


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
    pod: Json, events: list[Json], container: str, pulls: list[pod_events.Pull], told: Told
) -> list[Phase]:
    """A pull that still goes on, or one whose event is gone: missing, which is not 0."""
    if any(pull.container == container for pull in pulls):
        return []
    begun = pod_events.pulling_ns(events, container)
    if begun is not None and pod_status.current(pod, container) is None:
        until = None if told.now_ns is None else max(begun, told.now_ns)
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


@dataclass(frozen=True)
class _Ready:
    ns: int | None
    source: str = "watch"
    resolution_s: float | None = None
    notes: tuple[str, ...] = ()


def _ready(pod: Json, container: str, log: StartupLog | None, seen: PodSeen) -> _Ready:
    """Ready first True: as the watch saw it, else (or where the clocks disagree) the condition's whole second."""
    up = log.ready_ns if log else None
    whole = pod_status.condition_ns(pod, "Ready")
    if seen.ready_ns is not None and (whole is None or 0 <= seen.ready_ns - whole < WATCH_LATE_NS):
        return _seen_ready(seen.ready_ns, whole, up)
    if whole is None:
        return _Ready(None)
    if seen.ready_ns is not None:
        off_s = (seen.ready_ns - whole) / NS_PER_S
        note = f"Ready was seen {off_s:+.1f} s from the cluster's time of it: clocks differ, the cluster's is taken"
        return _Ready(not_before(whole, up), "status", 1.0, (note,))
    if log is not None and up is not None and whole - up > _slack_ns(pod, container):
        note = (
            f"Ready turned True {(whole - up) / NS_PER_S:,.0f} s after the server was up: a later change, not the start's; "
            "the log's `startup complete` stands for it"
        )
        return _Ready(up, "log", log_resolution(log), (note,))
    note = "Ready is the condition's time: had it changed since the start, this would be the last change"
    return _Ready(not_before(whole, up), "status", 1.0, (note,))


def _seen_ready(at_ns: int, whole_ns: int | None, up_ns: int | None) -> _Ready:
    """As the watch saw it, but within the second that the condition gives."""
    if whole_ns is not None and at_ns > whole_ns + NS_PER_S:
        return _Ready(not_before(whole_ns, up_ns), "watch", 1.0)
    return _Ready(not_before(at_ns, up_ns), "watch", WATCH_RESOLUTION_S)


def log_resolution(log: StartupLog) -> float:
    return log.clock.resolution_s if log.clock else 1.0


def _slack_ns(pod: Json, container: str) -> int:
    """How long after the server is up its readiness probe may still take to see it."""
    for one in pod["spec"].get("containers") or []:
        if one["name"] == container:
            probe = one.get("readinessProbe") or {}
            rounds = 2 + int(probe.get("successThreshold") or 1)
            seconds = int(probe.get("initialDelaySeconds") or 0) + rounds * int(
                probe.get("periodSeconds") or 10
            )
            return FLIP_NS + seconds * NS_PER_S
    return FLIP_NS


def _clock_notes(
    pod: Json, events: list[Json], started: pod_status.Ran | None, log: StartupLog | None, ready: _Ready
) -> tuple[str, ...]:
    """Where the clocks of control plane, node and log contradict each other by more than their resolution."""
    notes = []
    scheduled = pod_status.condition_ns(pod, "PodScheduled")
    pulls = [pull.start_ns for pull in pod_events.pulls(events)]
    node = min((at for at in [*pulls, started.start_ns if started else None] if at is not None), default=None)
    if scheduled is not None and node is not None and node <= scheduled - NS_PER_S:
        notes.append(_behind("the node's clock", "the control plane's", scheduled - node))
    first = log.first_log_ns if log and log.clock and log.clock.source == "envelope" else None
    if started is not None and first is not None and first <= started.start_ns - NS_PER_S:
        notes.append(_behind("the clock of the log's stamps", "the node's", started.start_ns - first))
    up = log.ready_ns if log and first is not None else None
    if up is not None and ready.ns is not None and ready.ns <= up - NS_PER_S:
        notes.append(_behind("the clock of Ready", "the log's", up - ready.ns))
    return tuple(notes)


def _behind(one: str, other: str, by_ns: int) -> str:
    return (
        f"{one} is {by_ns / NS_PER_S:.1f} s behind {other}: spans between the two are cut to 0, not negative"
    )


def _facts(pod: Json, events: list[Json], container: str, ready: _Ready) -> dict[str, Fact]:
    status = pod_status.container_status(pod, container)
    pull = next((pull for pull in pod_events.pulls(events) if pull.container == container), None)
    facts: dict[str, Fact] = {
        "namespace": pod["metadata"].get("namespace"),
        "node": pod["spec"].get("nodeName"),
        "container": container,
        "image": status.get("image"),
        "image_bytes": pull.bytes if pull else None,
        "pull_s": pull.seconds if pull else None,
        "pull_with_waiting_s": pull.waiting_s if pull else None,
        "pod_ip": (pod.get("status") or {}).get("podIP"),
        "ready_from": ready.source if ready.ns is not None else None,
    }
    created = pod_status.created_ns(pod)
    if ready.ns is not None and created is not None:
        facts["created_to_ready_s"] = (ready.ns - created) / NS_PER_S
    if started := pod_status.current(pod, container):
        facts["container_started_ns"] = started.start_ns
    for kind, times in pod_events.probe_failures(events).items():
        facts[f"{kind}_probe_failures"] = times
    return facts
