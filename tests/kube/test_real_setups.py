"""Sweeps over set-ups on a real Kubernetes, with simulators in the pods: by patches, by manifests, by Helm.

Skipped, with the reason printed, where there is no Kubernetes (or no helm).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from parts import program
from real import RealCluster
from test_real_startup import spec

import vllmperf as vp

NAMESPACE = "sweep-tests"
SIM = ["python3", "-m", "vllmperf", "sim", "--host", "$(POD_IP)", "--port", "8000", "--ttft-ms", "5"]
PLAN = {"num_prompts": 20, "max_concurrency": 2, "output_len": 8, "input_len": 16}
TIMEOUT_S = 180
Object = dict[str, Any]


def deployment(name: str) -> Object:
    template = {
        "metadata": {"labels": {"app": name, "app.kubernetes.io/instance": "release"}},
        "spec": spec(SIM),
    }
    template["spec"]["initContainers"] = []
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


@pytest.fixture
def cluster(real_cluster: RealCluster) -> RealCluster:
    """With a namespace of our own, empty."""
    real_cluster.empty_namespace(NAMESPACE)
    return real_cluster


def swept(cluster: RealCluster, folder: Path, setup: Object) -> Any:
    where = {"namespace": NAMESPACE, "kubeconfig": str(cluster.kubeconfig), "ready_timeout": TIMEOUT_S}
    found = vp.sweep({"setups": [{**setup, **where}], "plan": PLAN}, output=folder)
    assert not found.failures
    return found


def itl_ms(found: Any) -> dict[str, float]:
    return {point.point.setup.name: point.run().itl.p50 for point in found.points}


def spec_of(cluster: RealCluster, name: str) -> Object:
    found: Object = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "deployment", name, "-o", "json"))[
        "spec"
    ]
    return found


def test_arguments_of_a_real_deployment_are_swept_and_put_back(cluster, tmp_path):
    cluster.apply(deployment("patched"))
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/patched", f"--timeout={TIMEOUT_S}s")
    before = spec_of(cluster, "patched")
    setup = {"name": "itl", "kubernetes": "patched", "args": "--itl-ms {itl}", "axes": {"itl": [2, 20]}}
    found = swept(cluster, tmp_path / "s", setup)
    fast, slow = (itl_ms(found)[name] for name in ("itl itl=2", "itl itl=20"))
    assert fast < 10 <= slow  # one is 2 ms, the other 20 ms, whatever the machine adds
    assert spec_of(cluster, "patched") == before


def test_a_deployment_from_manifests_is_there_for_its_points_only(cluster, tmp_path):
    path = tmp_path / "server.yaml"
    path.write_text(json.dumps(deployment("made")))
    found = swept(cluster, tmp_path / "s", {"name": "made", "kubernetes": "made", "manifests": str(path)})
    assert found.points[0].run().summary["requests"]["completed"] == 20
    assert "made" not in cluster.kubectl("-n", NAMESPACE, "get", "deployments", "-o", "name")


def test_values_of_a_helm_chart_are_swept_and_the_release_is_gone_afterwards(cluster, tmp_path, monkeypatch):
    helm = Path(program("helm"))
    monkeypatch.setenv("PATH", f"{helm.parent}:{Path(sys.executable).parent}:/usr/bin:/bin")
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: sim\nversion: 0.1.0\n")
    (chart / "values.yaml").write_text("itl: {ms: 2}\n")
    template = json.dumps(deployment("release")).replace(
        '"--ttft-ms", "5"', '"--itl-ms", "{{ .Values.itl.ms }}"'
    )
    (chart / "templates/server.yaml").write_text(template)
    setup = {"name": "chart", "helm": str(chart), "release": "release", "axes": {"itl.ms": [2, 20]}}
    found = swept(cluster, tmp_path / "s", setup)
    fast, slow = (itl_ms(found)[name] for name in ("chart itl.ms=2", "chart itl.ms=20"))
    assert fast < 10 <= slow
    assert "release" not in cluster.kubectl("-n", NAMESPACE, "get", "deployments,secrets", "-o", "name")
