"""One start of one pod, from *created* to *first token* or Ready: status, events, log and probes in one waterfall.

Pure: what was read from the API goes in as plain dicts. Kubernetes' times are whole seconds (cut, not rounded) of
several clocks: API server and scheduler, the node, and this machine. No span is ever negative; where the clocks
cannot be brought together a note says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.starts.live import pod_events, pod_status
from vllmperf.starts.live.join import Seen, after_log, end_of, imports, log_phases
from vllmperf.starts.live.pod_before import before_container
from vllmperf.starts.live.pod_status import not_before
from vllmperf.starts.result import NS_PER_S, Failure, Phase, Start, StartupLog
from vllmperf.starts.waterfall import fill

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
    """What the watcher adds: why it failed, earlier attempts, where the log lies, and the instant of this report."""

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
    before, last_started_ns = before_container(pod, mine, container, told.now_ns)
    started = pod_status.current(pod, container)
    phases = [
        *before,
        *imports(last_started_ns, log, joined, 1.0, _is_open(told, joined)),
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
        return _ended_since(pod, container, log)
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


def _ended_since(pod: Json, container: str, log: StartupLog | None) -> _Ready:
    """Of a container that ended well nothing but its log may say that its server was up."""
    ran, up = pod_status.ended_well(pod, container), log.ready_ns if log else None
    if ran is None or ran.end_ns is None or log is None or up is None:
        return _Ready(None)
    note = (
        f"it has ended since, with exit code 0 ({ran.reason or 'no reason given'}), "
        f"{max(0.0, (ran.end_ns - up) / NS_PER_S):,.0f} s after its server was up"
    )
    return _Ready(up, "log", log_resolution(log), (note,))


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
    for kind, times in pod_events.probe_failures(events).items():
        facts[f"{kind}_probe_failures"] = times
    return facts
