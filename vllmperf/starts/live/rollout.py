"""Causes starts of a Deployment's pods and measures them: scaling from nothing, or restarting its rollout."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vllmperf.errors import TargetError
from vllmperf.starts.live import watcher
from vllmperf.starts.live.interrupted import Interrupted
from vllmperf.starts.live.measurement import Measurement
from vllmperf.starts.result import Start

if TYPE_CHECKING:
    from vllmperf.kube import Cluster

Json = Mapping[str, Any]
POLL_S = 0.5


def measure_present(cluster: Cluster, asked: Measurement, name: str, watch: bool) -> list[Start]:
    """The pods that the deployment has, or gets."""
    from vllmperf.kube import workloads

    deployment = workloads.get_deployment(cluster, asked.namespace, name)
    label = workloads.selector_of(deployment)
    is_mine = _Owned(cluster, deployment)
    if not watch:
        return watcher.look(cluster, asked, label, is_mine)
    return watcher.wait_for(cluster, asked, label, is_mine, _replicas(deployment) or None)


def measure(
    cluster: Cluster, asked: Measurement, name: str, replicas: int | None, repeat: int = 1
) -> list[Start]:
    """`repeat` times: scale to 0 and then to `replicas`, or (None) restart the rollout; each new pod is a Start.

    Whatever happens, the deployment gets back the number of replicas that it had.
    """
    from vllmperf.kube import workloads

    deployment = workloads.get_deployment(cluster, asked.namespace, name)
    found: list[Start] = []
    with _restored(cluster, asked.namespace, name, _replicas(deployment), replicas is not None):
        for _ in range(repeat):
            try:
                once = (
                    _restart(cluster, asked, name)
                    if replicas is None
                    else _scale(cluster, asked, name, replicas)
                )
            except Interrupted as stopped:
                raise Interrupted([*found, *stopped.starts]) from None
            except KeyboardInterrupt:
                raise Interrupted(found) from None
            found += once
            if not all(start.reached for start in once):
                break  # the next one would fail too
    return found


@contextlib.contextmanager
def _restored(cluster: Cluster, namespace: str, name: str, replicas: int, is_scaled: bool) -> Iterator[None]:
    from vllmperf.kube import workloads

    try:
        yield
    finally:
        if is_scaled and _replicas(workloads.get_deployment(cluster, namespace, name)) != replicas:
            workloads.scale(cluster, namespace, name, replicas)


def _scale(cluster: Cluster, asked: Measurement, name: str, replicas: int) -> list[Start]:
    from vllmperf.kube import workloads

    deployment = workloads.get_deployment(cluster, asked.namespace, name)
    workloads.scale(cluster, asked.namespace, name, 0)
    _wait(
        lambda: not workloads.deployment_pods(cluster, deployment),
        asked.timeout,
        f"pods of {name} to go",
    )
    return watcher.wait_for(
        cluster,
        asked,
        workloads.selector_of(deployment),
        _Owned(cluster, deployment),
        replicas,
        lambda: workloads.scale(cluster, asked.namespace, name, replicas),
    )


def _restart(cluster: Cluster, asked: Measurement, name: str) -> list[Start]:
    """Only pods that were not there before count."""
    from vllmperf.kube import workloads

    deployment = workloads.get_deployment(cluster, asked.namespace, name)
    owned = _Owned(cluster, deployment)
    before = {pod["metadata"]["uid"] for pod in workloads.deployment_pods(cluster, deployment)}
    if not _replicas(deployment):
        raise TargetError(f"deployment {name} has 0 replicas, so a restart starts nothing: use --scale N")

    def cause() -> None:
        workloads.restart(cluster, asked.namespace, name)

    def is_new(pod: Json) -> bool:
        return pod["metadata"].get("uid") not in before and owned(pod)

    starts = watcher.wait_for(
        cluster, asked, workloads.selector_of(deployment), is_new, _replicas(deployment), cause
    )
    if all(start.reached for start in starts):
        _wait(
            lambda: _is_rolled_out(cluster, asked.namespace, name),
            asked.timeout,
            f"the rollout of {name}",
        )
    return starts


def _is_rolled_out(cluster: Cluster, namespace: str, name: str) -> bool:
    from vllmperf.kube import workloads

    return workloads.rolled_out(workloads.get_deployment(cluster, namespace, name))


def _wait(is_so: Callable[[], bool], limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TargetError(f"waited {limit_s:g} s for {what}; see `kubectl get pods`")
        time.sleep(POLL_S)


def _replicas(deployment: Json) -> int:
    count = deployment["spec"].get("replicas")
    return 1 if count is None else int(count)


class _Owned:
    """Whether a pod belongs to the deployment, through a ReplicaSet of it; new sets are looked up once."""

    def __init__(self, cluster: Cluster, deployment: Json) -> None:
        self._cluster, self._deployment = cluster, dict(deployment)
        self._known: dict[str, bool] = {}

    def __call__(self, pod: Json) -> bool:
        from vllmperf.kube import workloads

        owners = pod["metadata"].get("ownerReferences") or []
        uids = [str(owner["uid"]) for owner in owners if owner.get("controller")]
        if any(uid not in self._known for uid in uids):
            mine = {one["metadata"]["uid"] for one in workloads.replica_sets(self._cluster, self._deployment)}
            self._known |= {uid: uid in mine for uid in [*uids, *mine]}
        return any(self._known[uid] for uid in uids)
