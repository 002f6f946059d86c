"""The Helm chart in a real Kubernetes, with the simulated server in the place of vLLM: pods become ready, loads run, results
arrive in a bucket, an upgrade keeps the token, and an uninstall leaves nothing behind.

VLLMPERF_IMAGE: an archive that scripts/image wrote, to test instead of an image of this checkout without the wheel.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from zlib import crc32

import image
import parts  # noqa: F401 scripts/test-parts finds the files with real programs by it
import pytest
import yaml
from chart import CHART, helm
from real import RealCluster

pytest.importorskip("fastapi", reason="the extra service is not installed")
pytest.importorskip("boto3", reason="the extra s3 is not installed")
pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
from s3_server import ACCESS, BUCKET, SECRET, Server

GIVEN = os.environ.get("VLLMPERF_IMAGE")
IMAGE, TAG = (image.name_in(Path(GIVEN)) if GIVEN else "localhost/vllmperf-chart:1").rsplit(":", 1)
LIMIT_S = 240.0
SELECTOR = "app.kubernetes.io/name=vllmperf"
KINDS = "all,pvc,secret,configmap,serviceaccount,role,rolebinding,networkpolicy"
LOAD = {
    "kind": "bench",
    "label": "chart",
    "plan": {
        "base_url": "http://$(POD_IP):8000",
        "num_prompts": 30,
        "request_rate": 50,
        "input_len": 8,
        "output_len": 2,
    },
}
MODEL = "meta-llama/Llama-3.1-405B-Instruct-FP8"
SONNET = {
    "num_prompts": 20,
    "request_rate": 12,
    "backend": "openai-chat",
    "endpoint": "/v1/chat/completions",
    "dataset_path": "app/sonnet.txt",
    "dataset_name": "sonnet",
    "sonnet_input_len": 512,
    "sonnet_prefix_len": 128,
    "sonnet_output_len": 2,
}
"""The payload of the chart that ours replaces, but for its 1,000 prompts."""


@pytest.fixture(scope="module")
def cluster(real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> RealCluster:
    """With the image in it."""
    folder = tmp_path_factory.mktemp("image")
    archive = GIVEN or image.make(real_cluster.scripts, real_cluster.prefix, f"{IMAGE}:{TAG}", folder)
    command = [real_cluster.scripts / "load", real_cluster.prefix, real_cluster.state, archive]
    subprocess.run(command, check=True, timeout=LIMIT_S)
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


def values(bucket: Server, **more: Any) -> dict[str, Any]:
    """Of a chart whose server is the simulator. Pods of this cluster share the machine's network: each listens on its own
    address alone."""
    ours = {"repository": IMAGE, "tag": TAG}
    server = {
        "command": ["vllmperf"],
        "args": ["sim", "--host=$(POD_IP)", "--port=8000", "--ttft-ms=5", "--itl-ms=1"],
    }
    return {
        "servedModel": "sim",
        "modelStorage": {"enabled": False},
        "benchmarkSpecs": [LOAD],
        "vllm": {
            "image": ours,
            "version": "0.11.0",
            "host": "$(POD_IP)",
            "gpu": {"count": 0},
            "shmSize": "64Mi",
            **server,
        },
        "loadGenerator": {"image": ours, "listen": "$(POD_IP)", "resources": {"requests": {"cpu": "50m"}}},
        "results": {
            "bucket": BUCKET,
            "directory": "chart",
            "endpointUrl": bucket.endpoint,
            "region": "us-east-1",
            "accessKeyId": ACCESS,
            "secretAccessKey": SECRET,
        },
        **more,
    }


class Release:
    """A release of the chart in a namespace of its own."""

    def __init__(self, cluster: RealCluster, name: str, folder: Path) -> None:
        self.cluster, self.name, self._folder = cluster, name, folder
        cluster.kubectl("create", "namespace", name)

    def helm(self, *words: str) -> str:
        done = helm(self._folder, *words, "--namespace", self.name, kubeconfig=self.cluster.kubeconfig)
        assert done.returncode == 0, f"{done.stderr}\n{self.told()}"
        return done.stdout

    def install(self, given: dict[str, Any], command: str = "install") -> str:
        path = self._folder / "values.yaml"
        path.write_text(yaml.safe_dump(given), encoding="utf-8")
        return self.helm(
            command, "bench", str(CHART), "-f", str(path), "--wait", "--timeout", f"{LIMIT_S:.0f}s"
        )

    def get(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cluster.kubectl("-n", self.name, "get", *words, "-o", "json"))
        return found

    def pods(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get("pods", "-l", "app.kubernetes.io/component=pod")["items"]
        return items

    def token(self) -> str:
        return base64.b64decode(self.get("secret/bench-vllmperf-token")["data"]["token"]).decode()

    def ask(self, pod: dict[str, Any], path: str, body: dict[str, Any] | None = None) -> Any:
        """An answer of the pod's generator."""
        url = f"http://{pod['status']['podIP']}:8081{path}"
        headers = {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/json"}
        request = Request(url, None if body is None else json.dumps(body).encode(), headers)
        with urlopen(request, timeout=LIMIT_S) as answer:
            return json.load(answer)

    def told(self) -> str:
        """What is known of pods that do not do what they should."""
        found = []
        for words in ("get pods,jobs", "describe pods", f"logs --all-containers --tail=20 -l {SELECTOR}"):
            try:
                found.append(self.cluster.kubectl("-n", self.name, *words.split())[-4000:])
            except RuntimeError as error:
                found.append(str(error))
        return "\n".join(found)

    def left(self) -> list[str]:
        """Objects that are there, without those that every namespace has."""
        found = self.cluster.kubectl("-n", self.name, "get", KINDS, "-o", "name").split()
        return [one for one in found if one not in ("configmap/kube-root-ca.crt", "serviceaccount/default")]

    def remove(self) -> None:
        self.cluster.kubectl("delete", "namespace", self.name, "--wait=false")


@pytest.fixture
def release(cluster: RealCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Release]:
    made = Release(cluster, f"chart-{crc32(request.node.name.encode())}", tmp_path)
    yield made
    made.remove()


def until(holds: Callable[[], Any], told: Callable[[], str]) -> Any:
    """What holds() gives when it gives something."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.5)
    raise AssertionError(told())


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


def test_aggregate_runs_one_load_over_all_pods_and_may_only_list_them(
    release: Release, bucket: Server
) -> None:
    plan = {**LOAD["plan"], "base_url": "http://localhost:8000", "num_prompts": 31}
    load = {"kind": "bench", "plan": plan}
    release.install(values(bucket, replicaCount=3, aggregate=True, benchmarkSpecs=[load]))
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


def claimed(folder: Path, namespace: str) -> list[dict[str, Any]]:
    """The claim that the chart expects, of a folder of this machine."""
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = {
        **common,
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": str(folder), "type": "Directory"},
        "claimRef": {"namespace": namespace, "name": "model-storage"},
    }
    claim = {**common, "resources": {"requests": {"storage": "1Gi"}}}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{namespace}-models"},
            "spec": volume,
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "model-storage", "namespace": namespace},
            "spec": claim,
        },
    ]


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
