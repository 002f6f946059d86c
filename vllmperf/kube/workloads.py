"""Deployments and their pods: found through owner references, scaled, restarted; pods deleted by label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vllmperf.kube.errors import ConflictError, NotFoundError
from vllmperf.kube.lists import Object, pods_path

if TYPE_CHECKING:
    from vllmperf.kube.cluster import Cluster

REVISION = "deployment.kubernetes.io/revision"
MERGE_PATCH = "application/merge-patch+json"


def path_of(namespace: str, name: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"


def get_deployment(cluster: Cluster, namespace: str, name: str) -> Object:
    """The Deployment. Raises NotFoundError."""
    return cluster.get(path_of(namespace, name))


def selector_of(workload: Object) -> str:
    """The label selector of a Deployment or ReplicaSet, as a string for lists and watches."""
    selector = workload["spec"].get("selector") or {}
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    terms += [_expression(each) for each in selector.get("matchExpressions") or []]
    return ",".join(terms)


def scale(cluster: Cluster, namespace: str, name: str, replicas: int) -> None:
    """Asks for so many replicas; what follows is seen by watching the pods."""
    cluster.patch(path_of(namespace, name) + "/scale", {"spec": {"replicas": replicas}}, MERGE_PATCH)


def restart(cluster: Cluster, namespace: str, name: str, when: datetime | None = None) -> Object:
    """New pods for all replicas, as `kubectl rollout restart` does it; gives the Deployment as it is then."""
    stamp = (when or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    template = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": stamp}}}
    return cluster.patch(path_of(namespace, name), {"spec": {"template": template}}, MERGE_PATCH)


def replica_sets(cluster: Cluster, deployment: Object) -> list[Object]:
    """The Deployment's own ReplicaSets, newest revision first."""
    namespace, uid = deployment["metadata"]["namespace"], deployment["metadata"]["uid"]
    found = cluster.list(f"/apis/apps/v1/namespaces/{namespace}/replicasets", selector_of(deployment))
    return sorted((one for one in found if owned_by(one, uid)), key=_revision, reverse=True)


def deployment_pods(cluster: Cluster, deployment: Object, current_only: bool = False) -> list[Object]:
    """Pods of a Deployment's ReplicaSets; with current_only those of its current revision."""
    sets = replica_sets(cluster, deployment)
    if current_only:
        sets = [one for one in sets if _revision(one) == _revision(deployment)]
    owners = {one["metadata"]["uid"] for one in sets}
    pods = cluster.list_pods(deployment["metadata"]["namespace"], selector_of(deployment))
    return [pod for pod in pods if any(owned_by(pod, uid) for uid in owners)]


def owned_by(item: Object, uid: str) -> bool:
    """Whether the object's controller is the one with this uid."""
    owners = item["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)


def rolled_out(deployment: Object) -> bool:
    """Whether all replicas are of the current template and available, as `kubectl rollout status` waits for."""
    spec, status = deployment["spec"], deployment.get("status") or {}
    wanted = spec.get("replicas", 1)
    seen = (status.get("observedGeneration") or 0) >= deployment["metadata"].get("generation", 0)
    counts = [status.get(key) or 0 for key in ("updatedReplicas", "replicas", "availableReplicas")]
    return seen and counts == [wanted] * 3


def delete_pods(cluster: Cluster, pods: Iterable[Object]) -> Iterator[str]:
    """Deletes these very pods, not later ones of the same name, and gives the name of each when that is done.

    One that is gone already is passed over.
    """
    for pod in pods:
        meta = pod["metadata"]
        try:
            cluster.delete(f"{pods_path(meta['namespace'])}/{meta['name']}", uid=meta.get("uid"))
        except (NotFoundError, ConflictError):
            continue
        yield str(meta["name"])


def _expression(each: Mapping[str, Any]) -> str:
    key, values = each["key"], ",".join(each.get("values") or [])
    forms: dict[str, str] = {
        "In": f"{key} in ({values})",
        "NotIn": f"{key} notin ({values})",
        "Exists": key,
        "DoesNotExist": f"!{key}",
    }
    return forms[str(each["operator"])]


def _revision(item: Object) -> int:
    return int((item["metadata"].get("annotations") or {}).get(REVISION) or 0)
