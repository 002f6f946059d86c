"""Asks the API server who we are and which rights we have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllmperf.kube.cluster import Cluster
from vllmperf.kube.errors import ApiError
from vllmperf.kube.rights import Right, needed


def check(cluster: Cluster, namespace: str, rights: Sequence[Right] | None = None) -> dict[Right, bool]:
    """Asks the API server for each right whether we have it (SelfSubjectAccessReview, which everybody may)."""
    return {right: _allowed(cluster, namespace, right) for right in (needed() if rights is None else rights)}


def user_name(cluster: Cluster) -> str | None:
    """Who the API server takes us for (SelfSubjectReview, Kubernetes 1.28); None when it does not say."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = cluster.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
    except ApiError:
        return None
    name = answer.get("status", {}).get("userInfo", {}).get("username")
    return str(name) if name else None


def _allowed(cluster: Cluster, namespace: str, right: Right) -> bool:
    resource, _, sub = right.resource.partition("/")
    asked: dict[str, Any] = {
        "namespace": namespace,
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
    }
    if sub:
        asked["subresource"] = sub
    body: Mapping[str, Any] = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = cluster.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(answer.get("status", {}).get("allowed"))
