"""A cluster and a user of it: what the rest of vllmperf calls."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from vllmperf.kube import events as events_of
from vllmperf.kube import kubeconfig, lists, proxy
from vllmperf.kube.lists import Object, pods_path
from vllmperf.kube.logs import LogStream
from vllmperf.kube.stop import Stop
from vllmperf.kube.transport import Request, Transport
from vllmperf.kube.watch import Watch


def connect(config: str | None = None, context: str | None = None) -> Cluster:
    """The cluster that a kubeconfig names; no request is made yet.

    `config`: a file, or None (also "None"): the files of KUBECONFIG, else ~/.kube/config, else the service account of
    the pod we run in. `context`: instead of the current one. Raises UsageError.
    """
    return Cluster(Transport(kubeconfig.load(config, context)))


class Cluster:
    """Objects are the API's JSON as dicts. Calls raise ApiError (NotFoundError, ForbiddenError …) and UnreachableError, both
    TargetErrors of one line. May be used from several threads; close it, or use it as a context."""

    def __init__(self, transport: Transport):
        self.transport = transport

    @property
    def name(self) -> str:
        """The context's name."""
        return self.transport.context.name

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self.transport.server

    @property
    def namespace(self) -> str:
        """The context's namespace, "default" when it has none."""
        return self.transport.context.namespace

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Any object

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """One object by its path, such as /api/v1/namespaces/default/pods/a."""
        return self._call(Request("GET", path, query or {}))

    def post(self, path: str, body: Any) -> Object:
        return self._call(Request("POST", path, body=body))

    def patch(self, path: str, body: Any, content_type: str) -> Object:
        return self._call(Request("PATCH", path, body=body, content_type=content_type))

    def delete(self, path: str, uid: str | None = None) -> Object:
        """Deletes; with `uid` only that very object, not a new one of the same name (ConflictError then)."""
        options = (
            {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}} if uid else None
        )
        return self._call(Request("DELETE", path, body=options))

    def list(self, path: str, label_selector: str | None = None) -> builtins.list[Object]:
        """All objects under a path, read in pages."""
        return lists.list_all(self.transport, path, lists.selected(label_selector))[0]

    def watch(
        self, path: str, label_selector: str | None = None, stop: Stop | None = None, **settings: float
    ) -> Watch:
        """Iterate for WatchEvent(type, object): what is there as ADDED, then each change once, until `stop`.

        `settings`: patience_s, silence_s of vllmperf.kube.watch.Watch.
        """
        return Watch(self.transport, path, label_selector, stop, **settings)

    # Pods

    def list_pods(self, namespace: str, label_selector: str | None = None) -> builtins.list[Object]:
        """Pods that match, in the order of their names."""
        return self.list(pods_path(namespace), label_selector)

    def watch_pods(
        self, namespace: str, label_selector: str | None = None, stop: Stop | None = None, **settings: float
    ) -> Watch:
        """watch() of pods."""
        return self.watch(pods_path(namespace), label_selector, stop, **settings)

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str | None = None,
        follow: bool = False,
        previous: bool = False,
        since_ns: int | None = None,
        stop: Stop | None = None,
        **settings: float,
    ) -> LogStream:
        """Iterate for LogLine(stamp_ns, text); `.notes` tells of rotation. See vllmperf.kube.logs.LogStream."""
        return LogStream(
            self.transport, namespace, pod, container, follow, previous, since_ns, stop, **settings
        )

    def events(
        self, namespace: str, uid: str | None = None, name: str | None = None, kind: str | None = None
    ) -> builtins.list[Object]:
        """Events about an object, oldest first; see vllmperf.kube.events for their times."""
        return events_of.events(self.transport, namespace, uid, name, kind)

    def pod_request(
        self, namespace: str, pod: str, port: int | str, path: str, **how: Any
    ) -> proxy.PodAnswer:
        """HTTP to a pod through the API server: method, body, timeout_s, stop of proxy.pod_request."""
        return proxy.pod_request(self.transport, (namespace, pod, port), path, **how)

    def pod_stream(self, namespace: str, pod: str, port: int | str, path: str, **how: Any) -> proxy.PodStream:
        """The same with the body as a stream; see proxy.pod_stream."""
        return proxy.pod_stream(self.transport, (namespace, pod, port), path, **how)

    def _call(self, request: Request) -> Object:
        answer: Object = self.transport.call(request)
        return answer
