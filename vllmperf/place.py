"""Where the server of a run stands: what can be between it and the client follows from that, and what can be run against it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

Place = Literal["simulator", "loopback", "cluster", "network"]
SIMULATOR: Place = "simulator"
LOOPBACK: Place = "loopback"
CLUSTER: Place = "cluster"
NETWORK: Place = "network"
PLACES: Mapping[Place, str] = {
    SIMULATOR: "the simulator that the run started itself",
    LOOPBACK: "a server on this machine, or the end of a tunnel",
    CLUSTER: "a service by its name in a Kubernetes cluster",
    NETWORK: "any other address",
}


def place_of(plan: Mapping[str, Any]) -> Place:
    """Of a plan by name, by its first URL."""
    if plan.get("simulator") is not None:
        return SIMULATOR
    host = host_of(plan)
    if is_loopback(host):
        return LOOPBACK
    return CLUSTER if service_of(host) else NETWORK


def host_of(plan: Mapping[str, Any]) -> str:
    return (urlsplit(str(plan.get("base_url") or plan.get("url") or "")).hostname or "").rstrip(".")


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def service_of(host: str) -> tuple[str, str] | None:
    """Name and namespace of vllm.prod.svc, pod-0.vllm.prod.svc.cluster.local; None for a host of another kind."""
    labels = host.split(".")
    at = labels.index("svc") if "svc" in labels else 0
    return (labels[at - 2], labels[at - 1]) if at >= 2 else None
