"""Pods and events as the API server gives them, with times as offsets in seconds from one instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

ZERO = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)
ZERO_NS = int(ZERO.timestamp()) * 1_000_000_000
Json = dict[str, Any]


def at(second: float) -> str:
    """A whole-second time, cut as Kubernetes cuts."""
    return (ZERO + timedelta(seconds=int(second))).strftime("%Y-%m-%dT%H:%M:%SZ")


def ns(second: float) -> int:
    return ZERO_NS + round(second * 1e9)


def condition(kind: str, second: float, status: str = "True", **more: str) -> Json:
    return {"type": kind, "status": status, "lastTransitionTime": at(second), **more}


def running(
    name: str, second: float, restarts: int = 0, last: Json | None = None, ready: bool = True
) -> Json:
    last_state = {"terminated": last} if last else {}
    return {"name": name, "image": f"img/{name}", "ready": ready, "restartCount": restarts,
            "state": {"running": {"startedAt": at(second)}}, "lastState": last_state}  # fmt: skip


def terminated(start: float, end: float, code: int = 0, reason: str = "Completed") -> Json:
    return {"startedAt": at(start), "finishedAt": at(end), "exitCode": code, "reason": reason}


def waiting(name: str, reason: str, message: str = "", restarts: int = 0, last: Json | None = None) -> Json:
    return {"name": name, "image": f"img/{name}", "restartCount": restarts,
            "state": {"waiting": {"reason": reason, "message": message}},
            "lastState": {"terminated": last} if last else {}}  # fmt: skip


def pod(
    name: str = "vllm-0",
    containers: list[Json] | None = None,
    init: list[Json] | None = None,
    conditions: list[Json] | None = None,
    statuses: list[Json] | None = None,
    init_statuses: list[Json] | None = None,
    created: float = 0,
    **spec: Any,
) -> Json:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "creationTimestamp": at(created),
        },
        "spec": {
            "nodeName": "node-1",
            "containers": containers or [{"name": "vllm", "image": "vllm/vllm-openai:v0.9"}],
            "initContainers": init or [],
            **spec,
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.7",
            "conditions": conditions or [],
            "containerStatuses": statuses or [],
            "initContainerStatuses": init_statuses or [],
        },
    }


def event(
    reason: str,
    second: float,
    message: str = "",
    container: str | None = None,
    of: str = "vllm-0",
    kind: str = "Normal",
    count: int = 1,
    last: float | None = None,
) -> Json:
    about = {"kind": "Pod", "name": of, "uid": f"uid-{of}"}
    if container:
        about["fieldPath"] = f"spec.containers{{{container}}}"
    return {
        "metadata": {"name": f"{of}.{reason}.{second}", "uid": f"{of}-{reason}-{second}-{container}"},
        "involvedObject": about,
        "type": kind,
        "reason": reason,
        "message": message,
        "count": count,
        "firstTimestamp": at(second),
        "lastTimestamp": at(second if last is None else last),
        "eventTime": None,
    }
