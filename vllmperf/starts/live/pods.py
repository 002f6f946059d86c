"""The starts of a cluster's pods: which of the ways of looking at them is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from vllmperf.errors import UsageError
from vllmperf.starts.live import rollout, watcher
from vllmperf.starts.live.probe import Access
from vllmperf.starts.live.settings import Settings
from vllmperf.starts.result import Start


def measure(
    config: str | None = None,
    context: str | None = None,
    namespace: str = "default",
    label: str | None = None,
    container: str | None = None,
    deployment: str | None = None,
    watch: bool = False,
    timeout_s: float = 1800.0,
    probe_first_token: bool = False,
    logs_to: Path | None = None,
    on_update: Callable[[list[Start]], None] | None = None,
    *,
    scale: int | None = None,
    restart: bool = False,
    repeat: int = 1,
    sleep_wake: int = 0,
    url: str | None = None,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    cacert: str | None = None,
    insecure: bool = False,
    grace_s: float = 30.0,
    log_stamps: bool = True,
) -> list[Start]:
    """The starts of the pods that a label selector or a deployment chooses, one Start each, by name.

    As they are now; with `watch` each is waited for until it is ready or has failed. `scale` and `restart` cause the
    starts of a deployment's pods, `repeat` times, and put its number of replicas back at the end. `config`: a
    kubeconfig, None: KUBECONFIG, ~/.kube/config or the pod we run in. Raises UsageError, TargetError; Interrupted (a
    KeyboardInterrupt) holds in `.starts` what was known at a Ctrl-C.
    """
    from vllmperf import kube

    if not label and not deployment:
        raise UsageError("nothing says which pods: give a label selector or a deployment")
    access = Access(api_key, headers or {}, cacert, insecure)
    settings = Settings(
        namespace, container, timeout_s, grace_s, probe_first_token, sleep_wake, url, access, logs_to, log_stamps, on_update
    )  # fmt: skip
    with kube.connect(config, context) as cluster:
        if deployment and (scale is not None or restart):
            return rollout.measure(cluster, settings, deployment, scale, repeat)
        if deployment:
            return rollout.measure_present(cluster, settings, deployment, watch)
        assert label is not None
        return watcher.wait_for(cluster, settings, label) if watch else watcher.look(cluster, settings, label)
