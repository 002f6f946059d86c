"""Why a pod will not start, as soon as its status says so: image, crash loop, memory, scheduling, configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vllmperf.kube.stamps import NS_PER_S, parse_stamp
from vllmperf.starts.live import pod_events, pod_status
from vllmperf.starts.result import Failure, StartupLog

Json = Mapping[str, Any]
GRACE_S = 30.0
EVENTS = 8
TELLING = ("BackOff", "Killing", "Preempting", "Evicted")
"""Reasons of normal events that explain a failure."""

IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable",
         "SignatureValidationFailed", "ImageInspectError")  # fmt: skip
CONTAINER = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError",
             "ContainerCannotRun")  # fmt: skip


def find(
    pod: Json, events: Iterable[Json], container: str, now_ns: int, grace_s: float = GRACE_S
) -> Failure | None:
    """The failure that waiting cannot mend, or None. An unschedulable pod is given grace_s (and all the time that
    an autoscaler needs once it said that it adds a node)."""
    for status in pod_status.all_statuses(pod):
        if failure := _waiting(status):
            return failure
    return _ended(pod, container) or _unschedulable(pod, list(events), now_ns, grace_s) or _pod_failed(pod)


def _waiting(status: Json) -> Failure | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, text = waiting.get("reason"), " ".join(str(waiting.get("message") or "").split())
    name, image = status["name"], status.get("image", "")
    if reason in IMAGE:
        return Failure(
            "image_pull", None, f"container {name}: {reason} of {image}: {text}".rstrip(": "), reason
        )
    if reason in CONTAINER:
        return Failure("container_start", None, f"container {name}: {reason}: {text}".rstrip(": "), reason)
    if reason == "CrashLoopBackOff":
        last = (status.get("lastState") or {}).get("terminated") or {}
        return _crashed(name, last, reason, int(status.get("restartCount") or 0))
    return None


def _crashed(name: str, last: Json, reason: str, restarts: int) -> Failure:
    """A crash loop; out of memory is named as such."""
    ended = str(last.get("reason") or "")
    root = ended if ended == "OOMKilled" else reason
    text = f"container {name}: {root}, ended with exit code {last.get('exitCode')}"
    text += f" ({ended})" if ended not in ("", root, "Error") else ""
    text += f" after {restarts} restart{'' if restarts == 1 else 's'}" if restarts else ""
    if said := " ".join(str(last.get("message") or "").split()):
        text += f": {said[-300:]}"
    return Failure(None, None, text, root)


def _ended(pod: Json, container: str) -> Failure | None:
    """The server's container or an init container has ended and will not be started again (or ran out of memory)."""
    always = (pod["spec"].get("restartPolicy") or "Always") == "Always"
    for status in pod_status.all_statuses(pod):
        state = (status.get("state") or {}).get("terminated")
        is_init = status not in ((pod.get("status") or {}).get("containerStatuses") or [])
        if (
            not state
            or (is_init and state.get("exitCode") == 0)
            or (not is_init and status["name"] != container)
        ):
            continue
        is_last = (pod["spec"].get("restartPolicy") == "Never") or (not always and state.get("exitCode") == 0)
        if is_last or state.get("reason") == "OOMKilled":
            reason = str(state.get("reason") or "Error")
            return _crashed(status["name"], state, reason, int(status.get("restartCount") or 0))
    return None


def _unschedulable(pod: Json, events: list[Json], now_ns: int, grace_s: float) -> Failure | None:
    found = pod_status.condition(pod, "PodScheduled")
    if found.get("status") != "False" or found.get("reason") not in ("Unschedulable", "SchedulerError"):
        return None
    mine = pod_events.of_pod(events, pod)
    if any(event.get("reason") == "TriggeredScaleUp" for event in mine):
        return None
    since = parse_stamp(found.get("lastTransitionTime")) or pod_status.created_ns(pod) or now_ns
    if now_ns - since < grace_s * NS_PER_S:
        return None
    return Failure(
        "scheduling", None, f"unschedulable: {found.get('message') or 'no message'}", "Unschedulable"
    )


def _pod_failed(pod: Json) -> Failure | None:
    status = pod.get("status") or {}
    if status.get("phase") not in ("Failed", "Succeeded"):
        return None
    reason = str(status.get("reason") or status["phase"])
    return Failure(None, None, f"pod {reason}: {status.get('message') or 'it has ended'}", reason)


def with_log(failure: Failure, log: StartupLog | None) -> Failure:
    """The log's root cause with Kubernetes' reason, when the log tells one."""
    if log is None or log.failure is None:
        return failure
    return Failure(log.failure.phase, log.failure.line, log.failure.text, failure.reason)


def evidence(
    pod: Json,
    events: Iterable[Json],
    found: Failure | None,
    told: Failure | None,
    last_lines: Iterable[str],
) -> tuple[str, ...]:
    """What Kubernetes says of the failure where the log's cause is told instead, the pod's last telling events, and
    the last log lines."""
    first = [found.text] if found is not None and told is not None and found.text != told.text else []
    mine = pod_events.of_pod(events, pod)
    telling = [event for event in mine if event.get("type") == "Warning" or event.get("reason") in TELLING]
    shown = [pod_events.describe(event) for event in (telling or mine)[-EVENTS:]]
    return (*first, *(f"event: {text}" for text in shown), *(f"log: {text}" for text in last_lines))
