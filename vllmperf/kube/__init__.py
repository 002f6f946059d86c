"""Kubernetes as vllmperf needs it: pods, logs, events, Deployments, rights, with releases 30 to 37 of `kubernetes`.

    with connect(config, context) as cluster:
        stop = Stop(timeout_s=600)
        for event in cluster.watch_pods("default", "app=vllm", stop=stop): ...      # WatchEvent(type, object)
        log = cluster.logs("default", pod, "vllm", follow=True, stop=stop)
        for line in log: ...                                                        # LogLine(stamp_ns, text: bytes)
        log.notes                                                                   # [Note(kind, text, stamp_ns)]
        cluster.events("default", uid=uid)                                          # raw dicts, oldest first; event_ns()
        cluster.pod_request("default", pod, 8000, "/health").status
        workloads.get_deployment(cluster, "default", name), workloads.deployment_pods(cluster, deployment), …

The only package that imports `kubernetes`; it does so when a kubeconfig is read, since that takes a second or more.
"""

from vllmperf.kube import access, rights, workloads
from vllmperf.kube.cluster import Cluster, connect
from vllmperf.kube.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    LogsGoneError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
    UnreachableError,
)
from vllmperf.kube.events import event_ns, parse_pulled
from vllmperf.kube.lists import Object, pods_path
from vllmperf.kube.logs import LogLine, LogStream, Note
from vllmperf.kube.stamps import format_stamp, parse_duration, parse_stamp
from vllmperf.kube.stop import Stop
from vllmperf.kube.watch import Watch, WatchEvent

__all__ = [
    "ApiError",
    "BadRequestError",
    "Cluster",
    "ConflictError",
    "ForbiddenError",
    "LogLine",
    "LogStream",
    "LogsGoneError",
    "NotFoundError",
    "Note",
    "Object",
    "Stop",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UnreachableError",
    "Watch",
    "WatchEvent",
    "access",
    "connect",
    "event_ns",
    "format_stamp",
    "parse_duration",
    "parse_pulled",
    "parse_stamp",
    "pods_path",
    "rights",
    "workloads",
]
