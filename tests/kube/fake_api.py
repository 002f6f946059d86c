"""A Kubernetes API server in the test's own process, with every fault on demand. No TLS unless asked for.

    with FakeApi() as api:
        pod = api.add_pod("a", labels={"app": "vllm"})
        api.append_log("a", "INFO starting")
        api.fail("GET /api/v1/.*/pods", status=503, times=2)
        cluster = vllmperf.kube.connect(str(api.kubeconfig(tmp_path)))

State and faults are here; the wire is in fake_http.py. All methods may be called from any thread while clients are
connected: watches and followed logs see the change at once.
"""

from __future__ import annotations

import copy
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fake_http import Served, start
from fake_objects import (
    Object,
    chosen,
    container_of,
    crash,
    meta_of,
    owner_reference,
    restart,
    rfc3339,
    state_of,
    status_of_container,
    terminate,
)


@dataclass
class Fault:
    """What happens to the next `times` requests whose "METHOD /path?query" matches `where` (re.search)."""

    where: str
    times: int = 1
    status: int | None = None  # answers with this status and a Status object
    reason: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False  # closes the connection without an answer
    cut_after: int | None = None  # breaks the connection after this many bytes of the body
    stall_after: int | None = None  # sends nothing more after this many bytes of the body, connection open
    body: bytes | None = None  # with status: this body instead of a Status object


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def line(self) -> str:
        query = "&".join(f"{k}={v}" for k, v in self.query.items())
        return f"{self.method} {self.path}" + (f"?{query}" if query else "")


@dataclass
class Run:
    """What one run of a container has written."""

    lines: list[tuple[int, bytes]] = field(default_factory=list)  # (stamp, text)
    first: int = 0  # lines before this one are rotated away
    ended: bool = False


@dataclass
class ContainerLog:
    run: Run = field(default_factory=Run)
    previous: Run | None = None


class FakeApi:
    """Every attribute below may be changed while it serves."""

    def __init__(self, tls: ssl.SSLContext | None = None):
        self.changed = threading.Condition(threading.RLock())
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.history: list[tuple[int, str, str, Object]] = []  # (version, type, plural, object)
        self.version = 100
        self.oldest = 0  # watches from before this version get 410
        self.logs: dict[tuple[str, str, str], ContainerLog] = {}
        self.proxied: dict[tuple[str, str, int], Callable[[Served], None]] = {}
        self.faults: list[Fault] = []
        self.requests: list[Seen] = []
        self.tokens: set[str] | None = None  # good bearer tokens; None: no authentication
        self.denied: list[
            tuple[str, str]
        ] = []  # (verb, resource) such as ("list", "events") or ("get", "pods/log")
        self.user = "system:serviceaccount:default:tester"
        self.page = 500  # most items of one list page
        self.expire_continue = 0  # this many continue tokens are answered with 410
        self.expire_as = "event"  # how an expired watch is told: "event" or "http"
        self.bookmark_s: float | None = None  # a bookmark after each such span, to watches that allow them
        self.watch_limit_s: float | None = None  # the server ends watches after this time
        self.breaks = 0  # raised: all watches and followed logs are cut; see cut() and end_streams()
        self.ends = 0
        self.on_request: Callable[[Seen], None] | None = None  # called after each request was carried out
        self.closing = False
        self._start(tls)

    def _start(self, tls: ssl.SSLContext | None) -> None:
        self._server, self._thread = start(self, tls)
        self.host, self.port = self._server.server_address[:2]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> FakeApi:
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # Access

    def kubeconfig(
        self,
        folder: Path,
        token: str | None = "good",
        user: Object | None = None,
        cluster: Object | None = None,
        namespace: str = "default",
    ) -> Path:
        """Writes a kubeconfig whose only context is "fake"; `user` and `cluster` add to or replace its parts."""
        context = {"cluster": "fake", "user": "fake", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": context}],
            "clusters": [{"name": "fake", "cluster": {"server": self.url, **(cluster or {})}}],
            "users": [{"name": "fake", "user": user or ({"token": token} if token else {})}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        return path

    # Objects

    def put(self, plural: str, item: Object, kind: str = "MODIFIED") -> Object:
        """Stores any object (plural such as "pods") under a new version and tells the watchers."""
        with self.changed:
            self.version += 1
            meta = item["metadata"]
            meta["resourceVersion"] = str(self.version)
            key = (plural, meta["namespace"], meta["name"])
            if kind == "DELETED":
                self.objects.pop(key, None)
            else:
                kind = "MODIFIED" if key in self.objects else "ADDED"
                self.objects[key] = item
            self.history.append((self.version, kind, plural, copy.deepcopy(item)))
            self.changed.notify_all()
            return copy.deepcopy(item)

    def find(self, plural: str, name: str, namespace: str = "default") -> Object:
        """The stored object itself; KeyError when there is none."""
        return self.objects[plural, namespace, name]

    def add_pod(
        self,
        name: str,
        namespace: str = "default",
        labels: dict[str, str] | None = None,
        containers: Sequence[Object | str] = ("vllm",),
        init_containers: Sequence[Object | str] = (),
        owner: Object | None = None,
        created: datetime | None = None,
        running: bool = True,
    ) -> Object:
        """A pod, running unless told otherwise; containers are names, or whole container objects with "name"."""
        spec = {"nodeName": "node-1", "containers": [container_of(c) for c in containers]}
        if init_containers:
            spec["initContainers"] = [container_of(c) for c in init_containers]
        meta = meta_of(name, namespace, labels, created)
        if owner is not None:
            meta["ownerReferences"] = [owner_reference(owner)]
        states = [state_of(c["name"], running) for c in spec["containers"]]
        status = {"phase": "Running" if running else "Pending", "conditions": [], "containerStatuses": states}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}
        return self.put("pods", pod)

    def change_pod(self, name: str, change: Callable[[Object], object], namespace: str = "default") -> Object:
        """Lets `change` edit the pod in place, then tells the watchers."""
        with self.changed:
            pod = self.find("pods", name, namespace)
            change(pod)
            return self.put("pods", pod)

    def set_status(self, name: str, namespace: str = "default", **status: Any) -> Object:
        """Replaces parts of the pod's status: phase=…, conditions=[…], containerStatuses=[…], startTime=…"""
        return self.change_pod(name, lambda pod: pod["status"].update(status), namespace)

    def set_condition(
        self,
        name: str,
        kind: str,
        status: bool = True,
        when: datetime | None = None,
        namespace: str = "default",
    ) -> Object:
        """Sets a condition such as "Ready" with its lastTransitionTime."""
        new = {"type": kind, "status": str(status), "lastTransitionTime": rfc3339(when or datetime.now(UTC))}

        def change(pod: Object) -> None:
            others = [c for c in pod["status"]["conditions"] if c["type"] != kind]
            pod["status"]["conditions"] = [*others, new]

        return self.change_pod(name, change, namespace)

    def delete_pod(self, name: str, namespace: str = "default") -> None:
        with self.changed:
            self.put("pods", self.find("pods", name, namespace), "DELETED")
            for key, log in self.logs.items():
                if key[:2] == (namespace, name):
                    log.run.ended = True

    def add_event(
        self,
        about: Object,
        reason: str,
        message: str = "",
        kind: str = "Normal",
        first: datetime | None = None,
        last: datetime | None = None,
        event_time: str | None = None,
        count: int = 1,
        component: str = "kubelet",
    ) -> Object:
        """A core/v1 event about an object; with event_time (RFC 3339, µs) first and last are null, as the scheduler does."""
        meta = meta_of(
            f"{about['metadata']['name']}.{self.version:x}",
            about["metadata"]["namespace"],
            None,
            first or last,
        )
        times = {"firstTimestamp": None, "lastTimestamp": None, "eventTime": event_time}
        if event_time is None:
            first = first or last or datetime.now(UTC)
            times |= {
                "firstTimestamp": rfc3339(first),
                "lastTimestamp": rfc3339(last or first),
                "count": count,
            }
        whom = {"kind": about["kind"], "name": about["metadata"]["name"], "uid": about["metadata"]["uid"]}
        whom["namespace"] = about["metadata"]["namespace"]
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": meta,
            "involvedObject": whom,
            "reason": reason,
        }
        event |= {"message": message, "type": kind, "source": {"component": component}, **times}
        return self.put("events", event)

    def add_deployment(
        self,
        name: str,
        labels: dict[str, str],
        replicas: int = 1,
        namespace: str = "default",
        revision: int = 1,
    ) -> tuple[Object, Object]:
        """A Deployment with its newest ReplicaSet; pods are added with add_pod(…, owner=replica_set)."""
        meta = meta_of(name, namespace, labels, None)
        meta["annotations"] = {"deployment.kubernetes.io/revision": str(revision)}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container_of("vllm")]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        status = {"replicas": replicas, "readyReplicas": 0, "observedGeneration": 1}
        meta["generation"] = 1
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": spec,
            "status": status,
        }
        made = self.put("deployments", deployment)
        return made, self.add_replica_set(made, f"{name}-{revision}", revision)

    def add_replica_set(self, deployment: Object, name: str, revision: int) -> Object:
        """Another ReplicaSet of the deployment, which becomes its current revision."""
        namespace = deployment["metadata"]["namespace"]
        meta = meta_of(name, namespace, deployment["spec"]["selector"]["matchLabels"], None)
        meta["annotations"] = {"deployment.kubernetes.io/revision": str(revision)}
        meta["ownerReferences"] = [owner_reference(deployment)]
        stored = self.find("deployments", deployment["metadata"]["name"], namespace)
        stored["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": str(revision)}
        self.put("deployments", stored)
        spec = {"replicas": deployment["spec"]["replicas"], "selector": deployment["spec"]["selector"]}
        return self.put(
            "replicasets", {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": spec}
        )

    # Logs

    def log_of(self, pod: str, container: str = "vllm", namespace: str = "default") -> ContainerLog:
        return self.logs.setdefault((namespace, pod, container), ContainerLog())

    def append_log(
        self,
        pod: str,
        text: str | bytes,
        container: str = "vllm",
        stamp_ns: int | None = None,
        namespace: str = "default",
    ) -> None:
        """Adds lines (split at \\n) under one stamp, now unless given."""
        raw = text.encode() if isinstance(text, str) else text
        stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
        with self.changed:
            self.log_of(pod, container, namespace).run.lines += [
                (stamp_ns, line) for line in raw.split(b"\n")
            ]
            self.changed.notify_all()

    def rotate_log(self, pod: str, container: str = "vllm", namespace: str = "default") -> None:
        """What was written so far is no longer served to new readers; a follower sees no difference."""
        with self.changed:
            run = self.log_of(pod, container, namespace).run
            run.first = len(run.lines)

    def restart_container(
        self,
        pod: str,
        container: str = "vllm",
        exit_code: int = 1,
        reason: str = "Error",
        namespace: str = "default",
    ) -> None:
        """It dies (unless it had), its log becomes the previous one, and a new run begins."""
        with self.changed:
            log = self.log_of(pod, container, namespace)
            log.run.ended = True
            log.previous, log.run = log.run, Run()
            self.change_pod(
                pod, lambda p: restart(status_of_container(p, container), exit_code, reason), namespace
            )

    def crash_container(
        self,
        pod: str,
        container: str = "vllm",
        exit_code: int = 1,
        reason: str = "Error",
        waiting: str = "CrashLoopBackOff",
        namespace: str = "default",
    ) -> None:
        """It dies and waits to be started again: its log can still be read, as the current one."""
        with self.changed:
            self.log_of(pod, container, namespace).run.ended = True
            self.change_pod(
                pod, lambda p: crash(status_of_container(p, container), exit_code, reason, waiting), namespace
            )

    def start_container(self, pod: str, container: str = "vllm", namespace: str = "default") -> None:
        """A waiting container that never ran begins to."""
        with self.changed:
            self.change_pod(
                pod, lambda p: status_of_container(p, container).update(state_of(container, True)), namespace
            )

    def end_container(
        self,
        pod: str,
        container: str = "vllm",
        exit_code: int = 0,
        reason: str = "Completed",
        namespace: str = "default",
    ) -> None:
        """It terminates and is not started again: followers get the rest and come to an end."""
        with self.changed:
            self.log_of(pod, container, namespace).run.ended = True
            self.change_pod(
                pod, lambda p: terminate(status_of_container(p, container), exit_code, reason), namespace
            )

    # Faults

    def fail(self, where: str, **what: Any) -> Fault:
        """Adds a Fault; its fields are the arguments. fail("GET .*/pods", status=429, headers={"Retry-After": "1"})"""
        fault = Fault(where, **what)
        self.faults.append(fault)
        return fault

    def deny(self, verb: str, resource: str) -> None:
        """403 for this verb on this resource ("pods", "pods/log"), and "no" to an access review."""
        self.denied.append((verb, resource))

    def expire(self) -> None:
        """All versions until now are compacted away: a watch from one of them gets 410."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.changed.notify_all()

    def cut(self) -> None:
        """Breaks the connections of all watches and followed logs in the middle of a chunk."""
        with self.changed:
            self.breaks += 1
            self.changed.notify_all()

    def end_streams(self) -> None:
        """Ends all watches and followed logs in the orderly way, as a server that shuts down does."""
        with self.changed:
            self.ends += 1
            self.changed.notify_all()

    def seen(self, where: str) -> list[Seen]:
        """Requests so far whose "METHOD /path?query" matches."""
        return [request for request in self.requests if re.search(where, request.line)]

    # Used by fake_http

    def take_fault(self, line: str) -> Fault | None:
        with self.changed:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.where, line):
                    fault.times -= 1
                    return fault
        return None

    def select(self, plural: str, namespace: str | None, query: dict[str, str]) -> list[Object]:
        """Copies of the stored objects that the selectors of the query choose, by name."""
        with self.changed:
            return [
                copy.deepcopy(item)
                for (kind, where, _), item in sorted(self.objects.items())
                if kind == plural and namespace in (None, where) and chosen(item, query)
            ]

    def allowed(self, verb: str, resource: str) -> bool:
        return (verb, resource) not in self.denied and ("*", resource) not in self.denied
