"""The starts of a cluster's pods: which of the ways of looking at them is asked for."""

from __future__ import annotations

from vllmperf.starts.live import rollout, watcher
from vllmperf.starts.live.measurement import Measurement
from vllmperf.starts.result import Start


def measure(asked: Measurement) -> list[Start]:
    """The starts of the pods that a label selector or a deployment chooses, one Start each, by name.

    As they are now; with `watch` each is waited for until it is ready or has failed. `scale` and `restart` cause the
    starts of a deployment's pods, `repeat` times, and put its number of replicas back at the end. Raises UsageError,
    TargetError; Interrupted (a KeyboardInterrupt) holds in `.starts` what was known at a Ctrl-C.
    """
    from vllmperf import kube

    with kube.connect(asked.config, asked.context) as cluster:
        if asked.deployment and (asked.scale is not None or asked.restart):
            return rollout.measure(cluster, asked, asked.deployment, asked.scale, asked.repeat)
        if asked.deployment:
            return rollout.measure_present(cluster, asked, asked.deployment, asked.watch)
        assert asked.label is not None
        wait = watcher.wait_for if asked.watch else watcher.look
        return wait(cluster, asked, asked.label)
