"""Pods of a set-up in a cluster: where they answer, and why one will not start."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vllmperf.errors import UsageError
from vllmperf.sweeps.setups.server import SetupError

if TYPE_CHECKING:
    from vllmperf.kube import Cluster

POD_IP = "{pod_ip}"
Pods = Sequence[dict[str, Any]]


def connected(kubeconfig: str | None, context: str | None) -> Cluster:
    """A cluster that was asked for by these. Raises SetupError."""
    from vllmperf.kube import connect

    try:
        return connect(kubeconfig, context)
    except UsageError as error:
        raise SetupError(str(error)) from None


def addresses(pods: Pods, port: int) -> list[str]:
    """http://10.0.0.7:8000 of each that has an address."""
    ips = [str(pod.get("status", {}).get("podIP") or "") for pod in pods]
    return [f"http://[{ip}]:{port}" if ":" in ip else f"http://{ip}:{port}" for ip in ips if ip]


def base_url(asked: str | None, pods: Pods, port: int) -> str:
    """Where the load goes: as asked for, else the one pod. Raises SetupError."""
    found = addresses(pods, port)
    if asked is not None and POD_IP not in asked:
        return asked
    if len(found) != 1:
        raise SetupError(
            f"there are {len(found)} pods: give base_url, the address of the Service or router in front of them"
        )
    ip = found[0].removeprefix("http://").rpartition(":")[0]
    return found[0] if asked is None else asked.replace(POD_IP, ip)


def trouble(cluster: Cluster, pods: Pods, container: str) -> str | None:
    """What waiting cannot mend, of the first pod that has such a thing."""
    from vllmperf.starts.live import trouble as troubles

    for pod in pods:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        events = cluster.events(namespace, uid=pod["metadata"]["uid"])
        if failure := troubles.find(pod, events, container, time.time_ns()):
            return f"cannot start: pod {name}: {failure.text}"
    return None
