"""A release of the chart in the real Kubernetes, with the simulated server in the place of vLLM, and what it needs.

VLLMPERF_IMAGE: an archive that scripts/image wrote, to install instead of an image of this checkout without the wheel.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import image
import real
import yaml
from chart import CHART, helm
from s3_server import ACCESS, BUCKET, SECRET, Server

from vllmperf.service.examples import PAYLOAD

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
MODEL = PAYLOAD["model"]
SONNET = {name: value for name, value in PAYLOAD.items() if name not in ("host", "port", "model")} | {
    "num_prompts": 20
}
"""The payload of the chart that ours replaces, but for its 1,000 prompts."""


@contextmanager
def cluster(folder: Callable[[str], Path]) -> Iterator[real.RealCluster]:
    """A real Kubernetes. folder: makes one of this name."""
    with real.running(
        lambda: folder("kubernetes"), lambda scripts: _for_all_users(scripts, folder("scripts") / "kube")
    ) as found:
        yield found


def _for_all_users(scripts: Path, folder: Path) -> Path:
    """The scripts with another umask: under theirs containerd gives each pod a root folder that only root may enter, and the
    pods of the chart are not root."""
    shutil.copytree(scripts, folder, copy_function=shutil.copy)
    up = folder / "up"
    text = up.read_text(encoding="utf-8")
    up.chmod(0o755)
    up.write_text(text.replace("\numask 077\n", "\numask 022\n"), encoding="utf-8")
    return folder


def load_image(found: real.RealCluster, folder: Path) -> None:
    archive = GIVEN or image.make(found.scripts, found.prefix, f"{IMAGE}:{TAG}", folder)
    command = [found.scripts / "load", found.prefix, found.state, archive]
    subprocess.run(command, check=True, timeout=LIMIT_S)


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

    def __init__(self, cluster: real.RealCluster, name: str, folder: Path) -> None:
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


def until(holds: Callable[[], Any], told: Callable[[], str]) -> Any:
    """What holds() gives when it gives something."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.5)
    raise AssertionError(told())


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
