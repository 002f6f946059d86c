"""A Deployment of a cluster with changes, or from a file of manifests; what was there before is put back.

What the Deployment was is kept in an annotation of it, written by the same request as the change: whoever finds it knows what to
put back, even after this process was killed.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vllmperf import text_file
from vllmperf.errors import SettingError, VllmperfError
from vllmperf.plan import checks
from vllmperf.plan.checks import setting, whole
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part
from vllmperf.sweeps.setups import pods as pods_of
from vllmperf.sweeps.setups.command import texts, words
from vllmperf.sweeps.setups.server import SetupError
from vllmperf.sweeps.setups.values import filled

if TYPE_CHECKING:
    from vllmperf.kube import Cluster, Object

BEFORE = "vllmperf/before-sweep"
CREATED = "vllmperf/created-by-sweep"
OWN = ("replicas", "image")
"""Axes may have these names; other values go where {name} stands."""
SHELLS = ("sh", "bash", "ash", "dash")


def name_of(name: str, value: Any) -> str:
    """The Deployment's name, also as kubectl writes it."""
    return (
        checks.text(name, value)
        .removeprefix("deployment/")
        .removeprefix("deployment.apps/")
        .removeprefix("deploy/")
    )


def arguments(name: str, value: Any) -> tuple[str, ...]:
    """Arguments of a server, as one line or as words."""
    found = words(name, value)
    return tuple(shlex.split(found)) if isinstance(found, str) else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes(Part):
    """kubernetes: name of the Deployment. container: that of the server; None: "vllm", or the first.

    manifests: a YAML file with the Deployment and what it needs: nothing of that may be there yet, and all of it is deleted at
    the end. args: of the server, each instead of the same flag that it has. base_url: None: that of the one pod; {pod_ip} in it
    is that pod's address. pod_port: of the pods.
    """

    kubernetes: str = setting("", name_of)
    manifests: str | None = setting(None, checks.path)
    namespace: str | None = setting(None, checks.text)
    context: str | None = setting(None, checks.text)
    kubeconfig: str | None = setting(None, checks.path)
    container: str | None = setting(None, checks.text)
    args: tuple[str, ...] | None = setting(None, arguments)
    env: Mapping[str, str] = setting(JsonObject(), texts)
    image: str | None = setting(None, checks.text)
    replicas: int | None = setting(None, whole(1, 10_000))
    base_url: str | None = setting(None, checks.text)
    pod_port: int = setting(8000, whole(1, 65535))

    def check(self) -> None:
        if self.args and not self.args[0].startswith("-"):
            raise SettingError("{args} must begin with a flag (got {got})", got=self.args[0])

    def with_values(self, values: Mapping[str, Any]) -> Kubernetes:
        """With the values of axes: replicas and image by their names, others for their names in braces."""
        own = {name: value for name, value in values.items() if name in OWN}
        found: Kubernetes = filled(
            replace(self, **own), {name: value for name, value in values.items() if name not in own}
        )
        return found

    def start(self, _name: str, _logs: Path) -> KubernetesServer:
        """Change the Deployment. Raises SetupError, TargetError."""
        return KubernetesServer(self)


class KubernetesServer:
    """The Deployment with the changes, and its pods."""

    def __init__(self, asked: Kubernetes) -> None:
        self._asked = asked
        self.base_url = ""
        self.metrics_roots: Sequence[str] = []
        with session(asked) as (cluster, namespace):
            self._container = changed(cluster, namespace, asked)

    def unready(self) -> str | None:
        from vllmperf.kube import workloads

        if self.base_url:
            return None
        with session(self._asked) as (cluster, namespace):
            deployment = workloads.get_deployment(cluster, namespace, self._asked.kubernetes)
            if not workloads.rolled_out(deployment):
                status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
                ready = status.get("availableReplicas") or 0
                return f"deployment {self._asked.kubernetes}: {ready} of {wanted} replicas are available"
            pods = workloads.deployment_pods(cluster, deployment, current_only=True)
        self.metrics_roots = pods_of.addresses(pods, self._asked.pod_port)
        self.base_url = pods_of.base_url(self._asked.base_url, pods, self._asked.pod_port)
        return None

    def ended(self) -> str | None:
        from vllmperf.kube import workloads

        with session(self._asked) as (cluster, namespace):
            deployment = workloads.get_deployment(cluster, namespace, self._asked.kubernetes)
            pods = workloads.deployment_pods(cluster, deployment, current_only=True)
            return pods_of.trouble(cluster, pods, self._container)

    def facts(self) -> dict[str, object]:
        named = {
            name: getattr(self._asked, name)
            for name in ("kubernetes", "manifests", "namespace", "context", "kubeconfig")
        }
        return {"deployment": named}

    def stop(self) -> None:
        put_back(self._asked)


@contextlib.contextmanager
def session(asked: Kubernetes) -> Iterator[tuple[Cluster, str]]:
    """The cluster and the namespace."""
    with pods_of.connected(asked.kubeconfig, asked.context) as cluster:
        yield cluster, asked.namespace or cluster.namespace


# ---- change and put back ----


def changed(cluster: Cluster, namespace: str, asked: Kubernetes) -> str:
    """Create the manifests, change the Deployment; gives the name of the server's container. Raises SetupError, ApiError."""
    from vllmperf.kube import workloads

    put_back_in(cluster, namespace, asked)
    try:
        for path, item in manifests(cluster, namespace, asked.manifests):
            create(cluster, path, item)
        deployment = workloads.get_deployment(cluster, namespace, asked.kubernetes)
        container = server_container(deployment, asked.container)
        cluster.patch(
            workloads.path_of(namespace, asked.kubernetes),
            patch_of(deployment, container, asked),
            workloads.MERGE_PATCH,
        )
    except BaseException:
        with contextlib.suppress(VllmperfError):
            put_back_in(cluster, namespace, asked)
        raise
    return str(container["name"])


def patch_of(deployment: Object, container: Object, asked: Kubernetes) -> dict[str, Any]:
    """The change, and what was there before beside it."""
    spec = deployment["spec"]
    containers = spec["template"]["spec"]["containers"]
    before = {"replicas": spec.get("replicas", 1), "containers": containers}
    change: dict[str, Any] = {
        "template": {
            "spec": {
                "containers": [with_changes(one, asked) if one is container else one for one in containers]
            }
        }
    }
    if asked.replicas is not None:
        change["replicas"] = asked.replicas
    return {"metadata": {"annotations": {BEFORE: json.dumps(before)}}, "spec": change}


def put_back(asked: Kubernetes) -> None:
    """The Deployment as it was, without what the manifests made. Doing it again is no error. Raises TargetError."""
    with session(asked) as (cluster, namespace):
        put_back_in(cluster, namespace, asked)


def put_back_in(cluster: Cluster, namespace: str, asked: Kubernetes) -> None:
    from vllmperf.kube import NotFoundError, workloads

    for path, item in reversed(list(manifests(cluster, namespace, asked.manifests))):
        uncreate(cluster, f"{path}/{item['metadata']['name']}")
    try:
        deployment = workloads.get_deployment(cluster, namespace, asked.kubernetes)
    except NotFoundError:
        return
    written = (deployment["metadata"].get("annotations") or {}).get(BEFORE)
    if written is None:
        return
    before = json.loads(written)
    spec = {"replicas": before["replicas"], "template": {"spec": {"containers": before["containers"]}}}
    patch = {"metadata": {"annotations": {BEFORE: None}}, "spec": spec}
    cluster.patch(workloads.path_of(namespace, asked.kubernetes), patch, workloads.MERGE_PATCH)


# ---- the container ----


def server_container(deployment: Object, name: str | None) -> Object:
    """The one that is asked for, else "vllm", else the first. Raises SetupError."""
    containers: list[Object] = deployment["spec"]["template"]["spec"]["containers"]
    by_name = {one["name"]: one for one in containers}
    if name is not None and name not in by_name:
        known = ", ".join(by_name)
        raise SetupError(
            f"deployment {deployment['metadata']['name']} has no container {name}: it has {known}"
        )
    return by_name.get(name or "vllm", containers[0])


def with_changes(container: Object, asked: Kubernetes) -> Object:
    """With the arguments, variables and image that are asked for. Raises SetupError."""
    found = dict(container)
    if asked.image is not None:
        found["image"] = asked.image
    if asked.env:
        others = [one for one in container.get("env") or [] if one["name"] not in asked.env]
        found["env"] = [*others, *({"name": name, "value": value} for name, value in asked.env.items())]
    if asked.args:
        place = "args" if container.get("args") else "command"
        given = container.get(place) or []
        if given and Path(given[0]).name in SHELLS:
            raise SetupError(
                f"container {container['name']} starts its server by a line for a shell: no argument can be changed in it"
            )
        found[place if given else "args"] = with_arguments(given, asked.args)
    return found


def with_arguments(given: Sequence[str], more: Sequence[str]) -> list[str]:
    """Each flag of `more` instead of the same one in `given`, or behind the others."""
    changed_flags = {_flag(group[0]) for group in groups(more)}
    kept = [group for group in groups(given) if _flag(group[0]) not in changed_flags]
    return [word for group in [*kept, *groups(more)] for word in group]


def groups(given: Sequence[str]) -> list[list[str]]:
    """Flags with their values; words before the first flag stand by themselves."""
    found: list[list[str]] = []
    for word in given:
        if word.startswith("-") or not found or not found[-1][0].startswith("-"):
            found.append([word])
        else:
            found[-1].append(word)
    return found


def _flag(word: str) -> str:
    return word.partition("=")[0].replace("_", "-") if word.startswith("-") else word


# ---- manifests ----


def manifests(cluster: Cluster, namespace: str, path: str | None) -> Iterator[tuple[str, Object]]:
    """(path of its collection, the object) of each in the file. Raises SetupError."""
    if path is None:
        return
    try:
        found = [item for item in yaml.safe_load_all(text_file.read(path)) if item]
    except (OSError, text_file.NoTextError, yaml.YAMLError) as error:
        raise SetupError(f"manifests {path} cannot be read: {' '.join(str(error).split())}") from None
    for item in found:
        if not isinstance(item, dict) or not item.get("kind") or not (item.get("metadata") or {}).get("name"):
            raise SetupError(f"manifests {path}: each document must be an object with kind and metadata.name")
        yield collection(cluster, namespace, item), item


def collection(cluster: Cluster, namespace: str, item: Object) -> str:
    """Where objects of its kind are, by the API's own list of them."""
    version = str(item.get("apiVersion") or "v1")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    for resource in cluster.get(root).get("resources") or []:
        if resource["kind"] == item["kind"] and "/" not in resource["name"]:
            own = item["metadata"].get("namespace") or namespace
            return (
                f"{root}/namespaces/{own}/{resource['name']}"
                if resource["namespaced"]
                else f"{root}/{resource['name']}"
            )
    raise SetupError(f"the cluster knows no {item['kind']} of {version}")


def create(cluster: Cluster, path: str, item: Object) -> None:
    from vllmperf.kube import ConflictError

    meta = item["metadata"]
    marked = {
        **item,
        "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), CREATED: "true"}},
    }
    try:
        cluster.post(path, marked)
    except ConflictError:
        raise SetupError(
            f"{item['kind']} {meta['name']} is there already: delete it, or leave manifests out to change what is there"
        ) from None


def uncreate(cluster: Cluster, path: str) -> None:
    """Delete it, if a sweep has made it."""
    from vllmperf.kube import ConflictError, NotFoundError

    with contextlib.suppress(NotFoundError, ConflictError):
        meta = cluster.get(path)["metadata"]
        if CREATED in (meta.get("annotations") or {}):
            cluster.delete(path, uid=meta["uid"])
