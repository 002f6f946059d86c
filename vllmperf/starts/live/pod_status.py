"""Reads the instants of a pod's status: conditions, init containers, the server's container and its tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.kube.stamps import NS_PER_S, parse_stamp
from vllmperf.starts.live.containers import is_sidecar

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Ran:
    """A container that ran, or runs (end_ns None)."""

    name: str
    start_ns: int
    end_ns: int | None
    restarts: int = 0
    exit_code: int | None = None
    reason: str | None = None


def condition_ns(pod: Json, kind: str) -> int | None:
    """When a condition turned True last; None while it is not."""
    found = condition(pod, kind)
    return parse_stamp(found.get("lastTransitionTime")) if found.get("status") == "True" else None


def condition(pod: Json, kind: str) -> Json:
    for found in _status(pod).get("conditions") or []:
        if found.get("type") == kind:
            return dict(found)
    return {}


def created_ns(pod: Json) -> int | None:
    return parse_stamp(pod["metadata"].get("creationTimestamp"))


def container_status(pod: Json, name: str) -> Json:
    """The status of a container of any kind, empty when there is none yet."""
    status = _status(pod)
    for found in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
        if found.get("name") == name:
            return dict(found)
    return {}


def all_statuses(pod: Json) -> list[Json]:
    status = _status(pod)
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def restarts(pod: Json, name: str) -> int:
    return int(container_status(pod, name).get("restartCount") or 0)


def current(pod: Json, name: str) -> Ran | None:
    """The try that runs now, else the last one that ran; None before the first."""
    status = container_status(pod, name)
    state = status.get("state") or {}
    for part in (
        state.get("running"),
        state.get("terminated"),
        (status.get("lastState") or {}).get("terminated"),
    ):
        if part and (ran := _ran(status, part)):
            return ran
    return None


def ended_well(pod: Json, name: str) -> Ran | None:
    """The container's last run, where it ended by itself with exit code 0."""
    ran = current(pod, name)
    return ran if ran is not None and ran.end_ns is not None and ran.exit_code == 0 else None


def previous(pod: Json, name: str) -> Ran | None:
    """The try before the current one."""
    status = container_status(pod, name)
    part = (status.get("lastState") or {}).get("terminated")
    ran = _ran(status, part) if part else None
    return None if ran is None or ran == current(pod, name) else ran


def first_starts(pod: Json) -> dict[str, int]:
    """When each container that was never restarted started, in the order of the pod."""
    found = {}
    for status in all_statuses(pod):
        ran = current(pod, str(status["name"]))
        if ran is not None and not ran.restarts:
            found[ran.name] = ran.start_ns
    return found


def init_containers(pod: Json) -> list[Ran]:
    """The init containers that have ended, without native side-cars, in their order."""
    sidecars = {one["name"] for one in pod["spec"].get("initContainers") or [] if is_sidecar(one)}
    found = []
    for status in _status(pod).get("initContainerStatuses") or []:
        part = (status.get("state") or {}).get("terminated")
        ran = _ran(status, part) if part and status["name"] not in sidecars else None
        if ran is not None:
            found.append(ran)
    return found


def _ran(status: Json, part: Json) -> Ran | None:
    start = parse_stamp(part.get("startedAt"))
    if start is None:
        return None
    end = parse_stamp(part.get("finishedAt"))
    count = int(status.get("restartCount") or 0)
    return Ran(str(status["name"]), start, end, count, part.get("exitCode"), part.get("reason"))


def _status(pod: Json) -> Json:
    found: Json = pod.get("status") or {}
    return found


def not_before(whole_ns: int, floor_ns: int | None) -> int:
    """A whole-second time means any instant of its second: with a floor in this second, it is not before that."""
    if floor_ns is not None and whole_ns < floor_ns < whole_ns + NS_PER_S:
        return floor_ns
    return whole_ns
