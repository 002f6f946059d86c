"""Objects as the API server would make them, and the selectors that choose among them. See fake_api.py."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]


def chosen(item: Object, query: dict[str, str]) -> bool:
    labels = item["metadata"].get("labels") or {}
    return matches_labels(labels, query.get("labelSelector", "")) and matches_fields(
        item, query.get("fieldSelector", "")
    )


def rfc3339(when: datetime) -> str:
    """Whole seconds, as in objects of the API."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def meta_of(name: str, namespace: str, labels: dict[str, str] | None, created: datetime | None) -> Object:
    meta: Object = {"name": name, "namespace": namespace, "uid": f"uid-{name}-{time.monotonic_ns():x}"}
    meta["creationTimestamp"] = rfc3339(created or datetime.now(UTC))
    if labels:
        meta["labels"] = dict(labels)
    return meta


def owner_reference(owner: Object) -> Object:
    meta = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }


def container_of(given: Object | str) -> Object:
    return {"name": given, "image": "vllm/vllm-openai:v0.11.0"} if isinstance(given, str) else dict(given)


def state_of(name: str, running: bool) -> Object:
    state = (
        {"running": {"startedAt": rfc3339(datetime.now(UTC))}}
        if running
        else {"waiting": {"reason": "ContainerCreating"}}
    )
    identity = f"containerd://{name}-0" if running else ""
    return {
        "name": name,
        "state": state,
        "lastState": {},
        "ready": False,
        "started": running,
        "restartCount": 0,
        "containerID": identity,
    }


def status_of_container(pod: Object, container: str) -> Object:
    status = pod["status"]
    all_of_them = status.get("containerStatuses", []) + status.get("initContainerStatuses", [])
    found: Object = next(s for s in all_of_them if s["name"] == container)
    return found


def terminate(status: Object, exit_code: int, reason: str) -> Object:
    if "running" not in status["state"]:
        return dict(status["lastState"].get("terminated", {}))
    started = status["state"]["running"]["startedAt"]
    ended = {
        "exitCode": exit_code,
        "reason": reason,
        "startedAt": started,
        "finishedAt": rfc3339(datetime.now(UTC)),
    }
    ended["containerID"] = status["containerID"]
    status |= {"state": {"terminated": ended}, "ready": False, "started": False}
    return ended


def crash(status: Object, exit_code: int, reason: str, waiting: str) -> None:
    status["lastState"] = {"terminated": terminate(status, exit_code, reason)}
    status["state"] = {"waiting": {"reason": waiting}}


def restart(status: Object, exit_code: int, reason: str) -> None:
    status["lastState"] = {"terminated": terminate(status, exit_code, reason)}
    status["restartCount"] += 1
    status["containerID"] = f"containerd://{status['name']}-{status['restartCount']}"
    status |= {"state": {"running": {"startedAt": rfc3339(datetime.now(UTC))}}, "started": True}


def merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    """RFC 7386."""
    for key, value in patch.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        elif value is None:
            into.pop(key, None)
        else:
            into[key] = value


def matches_fields(item: dict[str, Any], selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        path, _, wanted = term.partition("=")
        value: Any = item
        for key in path.rstrip("!").split("."):
            value = (value or {}).get(key)
        if (str(value or "") == wanted.lstrip("=")) == path.endswith("!"):
            return False
    return True


def matches_labels(labels: dict[str, str], selector: str) -> bool:
    """The grammar of label selectors: a=b, a==b, a!=b, a in (b,c), a notin (b,c), a, !a."""
    terms = re.findall(r"(?:[^,(]|\([^)]*\))+", selector)
    return all(_term(labels, term.strip()) for term in terms)


def _term(labels: dict[str, str], term: str) -> bool:
    listed = re.fullmatch(r"(\S+)\s+(in|notin)\s*\(([^)]*)\)", term)
    if listed:
        values = {value.strip() for value in listed[3].split(",")}
        return (labels.get(listed[1]) in values) == (listed[2] == "in")
    checks: list[tuple[str, Callable[[str, str], bool]]] = [
        ("!=", lambda key, value: labels.get(key) != value),
        ("==", lambda key, value: labels.get(key) == value),
        ("=", lambda key, value: labels.get(key) == value),
    ]
    for mark, check in checks:
        key, found, value = term.partition(mark)
        if found:
            return check(key.strip(), value.strip())
    return term[1:] not in labels if term.startswith("!") else term in labels
