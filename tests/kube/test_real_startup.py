"""`vllmperf startup` against a real Kubernetes, with simulators behind the pods: their chosen times are the truth.

Skipped, with the reason printed, where there is no Kubernetes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from real import RealCluster

import vllmperf as vp
from vllmperf.starts.result import Start

CHECKOUT = Path(__file__).parents[2]
NAMESPACE = "startup-tests"
TIMEOUT_S = 180.0
SIM = ["python3", "-m", "vllmperf", "sim", "--host", "$(POD_IP)", "--port", "8000", "--startup-log", "-"]
TIMES = "imports=0.5,config=0.2,engine_process=0.5,worker_init=0.3,weights_load=2,compile=1.5,graph_capture=1"
ONCE = '[ -e /marks/tried ] || { : > /marks/tried; exec "$@" --startup fail=weights_load; }; exec "$@" --startup '
Object = dict[str, Any]


def sleep(seconds: int) -> list[str]:
    return ["python3", "-c", f"import time; time.sleep({seconds})"]


def spec(command: list[str], **more: Any) -> Object:
    """A container "vllm" with the checkout mounted, beside a side-car that comes first."""
    mounts = [
        {"name": "code", "mountPath": str(CHECKOUT), "readOnly": True},
        {"name": "marks", "mountPath": "/marks"},
    ]
    server = {
        "name": "vllm",
        "image": "localhost/python:1",
        "command": command,
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "PYTHONPATH", "value": str(CHECKOUT)},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        ],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1},
        "volumeMounts": mounts,
        **more,
    }
    sidecar = {"name": "sidecar", "image": "localhost/python:1", "command": sleep(3600)}
    init = {"name": "prepare", "image": "localhost/python:1", "command": sleep(2)}
    volumes = [{"name": "code", "hostPath": {"path": str(CHECKOUT)}}, {"name": "marks", "emptyDir": {}}]
    return {
        "initContainers": [init],
        "containers": [sidecar, server],
        "volumes": volumes,
        "terminationGracePeriodSeconds": 1,
    }


def pod(name: str, app: str, a_spec: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": a_spec,
    }


@pytest.fixture(scope="module")
def cluster(real_cluster: RealCluster) -> RealCluster:
    """With a namespace of our own, empty."""
    real_cluster.empty_namespace(NAMESPACE)
    return real_cluster


def apply(cluster: RealCluster, *objects: Object) -> None:
    text = json.dumps({"kind": "List", "apiVersion": "v1", "items": objects})
    cluster.kubectl("-n", NAMESPACE, "apply", "-f", "-", text=text)


def measure(cluster: RealCluster, **more: Any) -> vp.Starts:
    return vp.startup(config=str(cluster.kubeconfig), namespace=NAMESPACE, timeout=TIMEOUT_S, **more)


def durations(start: Start) -> dict[str, float]:
    return {p.name: p.duration_s for p in start.phases if p.critical and p.duration_s is not None}


def assert_adds_up(start: Start) -> None:
    parts = [p.end_ns - p.start_ns for p in start.phases if p.critical and p.start_ns and p.end_ns]
    assert min(parts) >= 0
    assert sum(parts) == start.end_ns - start.origin_ns


def test_of_three_simulators_one_crashes_and_one_restarts(cluster: RealCluster, tmp_path: Path) -> None:
    good = [*SIM, "--startup-version", "0.19", "--startup", TIMES]
    once = ["sh", "-c", ONCE + TIMES, "sh", *SIM, "--startup-version", "0.11"]
    crashes = [*SIM, "--startup-version", "0.28", "--startup", "fail=weights_load"]
    apply(
        cluster,
        *(pod(name, "three", spec(words)) for name, words in (("a", good), ("b", once), ("c", crashes))),
    )
    a, b, c = measure(
        cluster,
        label="app=three",
        watch=True,
        probe_first_token=True,
        url="http://{pod_ip}:8000",
        output=tmp_path,
    )
    assert a.reached
    assert a.end == "first token"
    assert a.facts["container"] == "vllm"
    found = durations(a)
    assert found["init_containers"] >= 1
    for name, chosen_s in (("weights_load", 2.0), ("compile", 1.5), ("graph_capture", 1.0)):
        assert found[name] >= chosen_s - 0.05, name
    assert_adds_up(a)
    assert b.reached
    assert b.restarts == 1
    assert [one.reached for one in b.earlier] == [False]
    assert_adds_up(b)
    assert not c.reached
    assert c.failure is not None
    assert c.failure.reason == "CrashLoopBackOff"
    assert c.failure.phase == "weights_load"
    assert any("event: " in line for line in c.evidence)
    assert any("log: " in line for line in c.evidence)
    assert (tmp_path / "a-log.txt").stat().st_size


def test_a_wrong_image_and_an_unschedulable_pod_fail_early(cluster: RealCluster) -> None:
    absent = spec(SIM, image="localhost/absent:1")
    greedy = spec(SIM, resources={"limits": {"nvidia.com/gpu": 1}})
    del absent["initContainers"], greedy["initContainers"]
    apply(cluster, pod("absent", "bad", absent), pod("greedy", "bad", greedy))
    image, gpu = measure(cluster, label="app=bad", watch=True, grace=10.0)
    assert image.failure is not None
    assert image.failure.reason in ("ErrImagePull", "ImagePullBackOff")
    assert any("localhost/absent:1" in line for line in image.evidence)
    assert gpu.failure is not None
    assert gpu.failure.reason == "Unschedulable"
    assert any("nvidia.com/gpu" in line for line in gpu.evidence)


def test_a_deployment_is_scaled_from_nothing_and_put_back(cluster: RealCluster) -> None:
    words = [*SIM, "--startup-version", "0.28", "--startup", "time_scale=0.2"]
    template = {"metadata": {"labels": {"app": "web"}}, "spec": spec(words)}
    wanted = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    apply(
        cluster, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": wanted}
    )
    starts = measure(cluster, deployment="web", scale=2)
    assert len(starts) == 2
    for start in starts:
        assert start.reached
        assert start.facts["ready_from"] == "watch"
        assert_adds_up(start)
    shown = cluster.kubectl("-n", NAMESPACE, "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}")
    assert shown == "0"
