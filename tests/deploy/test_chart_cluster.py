"""The Helm chart in a real Kubernetes, with the simulated server in the place of vLLM: pods become ready, loads run, results
arrive in a bucket, an upgrade keeps the token, and an uninstall leaves nothing behind.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import parts
import pytest
from chart import CASES, rendered, sets
from real import RealCluster

pytest.importorskip("fastapi", reason="the extra service is not installed")
pytest.importorskip("boto3", reason="the extra s3 is not installed")
pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
from release import LOAD, MODEL, SONNET, Release, claimed, load_image, until, values
from s3_server import ACCESS, SECRET, Server


@pytest.fixture(scope="module")
def cluster(real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> RealCluster:
    """With the image in it."""
    load_image(real_cluster, tmp_path_factory.mktemp("image"))
    return real_cluster


@pytest.fixture
def bucket(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    given = {
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    server = Server(tmp_path / "s3", port)
    yield server
    server.stop()


@pytest.fixture
def release(cluster: RealCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Release]:
    made = Release(cluster, f"chart-{crc32(request.node.name.encode())}", tmp_path)
    yield made
    made.remove()


def test_install_runs_the_loads_of_each_pod_into_the_bucket_and_uninstall_leaves_nothing(
    release: Release, bucket: Server
) -> None:
    said = release.install(values(bucket, replicaCount=2))
    assert "kubectl -n" in said
    assert "s3://results/chart" in said
    pods = release.pods()
    assert [all(one["ready"] for one in pod["status"]["containerStatuses"]) for pod in pods] == [True, True]
    runs = [until(lambda pod=pod: _finished(release, pod), release.told) for pod in pods]
    assert [run["headline"]["completed"] for run in runs] == [30, 30]
    found = until(lambda: _of_both(bucket.objects()), lambda: f"{sorted(bucket.objects())}\n{release.told()}")
    assert all(key.startswith("chart/") for key in found)

    token = release.token()
    release.install(values(bucket, replicaCount=1), "upgrade")
    until(lambda: len(release.pods()) == 1, release.told)
    assert release.token() == token
    assert release.ask(release.pods()[0], "/readyz")["status"] == "ready"

    release.helm("uninstall", "bench", "--wait")
    until(lambda: not release.left(), lambda: str(release.left()))


@pytest.fixture
def operator(cluster: RealCluster) -> RealCluster:
    """With the definitions of the Prometheus operator."""
    cluster.kubectl("apply", "--server-side", "-f", str(parts.folder("operator")))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    return cluster


@pytest.mark.parametrize("name", ["bench", "1e3", f"{'a' * 43}.{'b' * 9}"])
@pytest.mark.parametrize("case", CASES)
def test_the_api_server_takes_what_the_chart_renders(
    case: str, name: str, operator: RealCluster, tmp_path: Path
) -> None:
    words = sets(*CASES[case], "monitoring.prometheusRule=true", "monitoring.dashboards=true")
    text = rendered(tmp_path, *words, release=name).replace("DRAWN", "RFJBV04=")
    said = operator.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=text)
    assert len(said.splitlines()) == text.count("\nkind: ")


def test_objects_of_the_operator_come_and_go_with_the_release(
    operator: RealCluster, release: Release, bucket: Server
) -> None:
    monitoring = dict.fromkeys(("podMonitor", "serviceMonitor", "prometheusRule"), True)
    release.install(values(bucket, monitoring=monitoring, networkPolicy={"enabled": True}))
    kinds = "podmonitors,servicemonitors,prometheusrules,networkpolicies"
    assert len(release.get(kinds)["items"]) == 4
    release.helm("uninstall", "bench", "--wait")
    assert release.get(kinds)["items"] == []
    until(lambda: not release.left(), lambda: str(release.left()))


def test_aggregate_runs_one_load_over_all_pods_and_may_only_list_them(
    release: Release, bucket: Server
) -> None:
    plan = {**LOAD["plan"], "base_url": "http://localhost:8000", "num_prompts": 31}
    load = {"kind": "bench", "plan": plan}
    release.install(
        values(bucket, replicaCount=3, benchmarkSpecs=[load], aggregate=True, aggregateDiscovery="api")
    )
    (job,) = release.get("jobs")["items"]
    until(lambda: _ended(release, job["metadata"]["name"]), release.told)
    assert release.get("job", job["metadata"]["name"])["status"].get("succeeded") == 1, release.told()
    results = [json.loads(text) for key, text in bucket.objects().items() if key.endswith(".json")]
    assert [one["completed"] for one in results] == [31]
    who = f"system:serviceaccount:{release.name}:bench-vllmperf-aggregate"
    may = release.cluster.kubectl("-n", release.name, "auth", "can-i", "--list", f"--as={who}")
    assert [line.split()[-1] for line in may.splitlines() if line.startswith("pods ")] == ["[list]"]
    release.helm("uninstall", "bench", "--wait")
    until(lambda: not release.left(), lambda: str(release.left()))


def test_the_documents_payload_runs_from_the_values_and_by_curl(
    release: Release, bucket: Server, model: Path, tmp_path: Path
) -> None:
    """The tokenizer lies in the claim, in the folder that the model's name gives."""
    storage = tmp_path / "storage"
    shutil.copytree(model, storage / MODEL)
    storage.chmod(0o755)
    (storage / MODEL).chmod(0o755)
    release.cluster.apply(*claimed(storage, release.name))
    given = values(bucket, servedModel=MODEL, modelStorage={}, benchmarkSpecs=[SONNET])
    given["vllm"]["args"].append(f"--model={MODEL}")
    release.install(given)
    (pod,) = release.pods()
    run = until(lambda: _finished(release, pod), release.told)
    assert (run["phase"], run["headline"]["completed"]) == ("finished", 20), f"{run}\n{release.told()}"
    payload = {**SONNET, "host": pod["status"]["podIP"], "port": 8000, "model": MODEL}
    sent = release.ask(pod, "/start-load", payload)["id"]
    again = until(lambda: _ended_run(release, pod, sent), release.told)
    assert (again["phase"], again["headline"]["completed"]) == ("finished", 20), f"{again}\n{release.told()}"
    until(lambda: _of_both(bucket.objects()), lambda: f"{sorted(bucket.objects())}\n{release.told()}")
    release.helm("uninstall", "bench", "--wait")
    until(lambda: release.left() == ["persistentvolumeclaim/model-storage"], lambda: str(release.left()))
    release.cluster.kubectl("delete", "persistentvolume", f"{release.name}-models", "--wait=false")


def _ended_run(release: Release, pod: dict[str, Any], name: str) -> dict[str, Any] | None:
    run: dict[str, Any] = release.ask(pod, f"/runs/{name}")
    return run if run["phase"] in ("finished", "failed") else None


def _finished(release: Release, pod: dict[str, Any]) -> dict[str, Any] | None:
    runs = release.ask(pod, "/runs")["runs"]
    found: dict[str, Any] | None = next((run for run in runs if run["phase"] in ("finished", "failed")), None)
    return found


def _of_both(objects: dict[str, bytes]) -> dict[str, bytes] | None:
    """When JSON, run file and report of both pods are there."""
    ends = [key.rsplit(".", 1)[-1] for key in objects]
    return objects if min(ends.count(end) for end in ("json", "html", "vllmperf")) >= 2 else None


def _ended(release: Release, name: str) -> bool:
    status = release.get("job", name)["status"]
    return bool(status.get("succeeded") or status.get("failed"))
