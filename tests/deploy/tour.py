"""The outputs that docs/helm.md shows: `python tour.py` carries its commands out in a real Kubernetes, with the simulated server
in the place of vLLM, and prints what they answer. VLLMPERF_IMAGE, VLLMPERF_KUBE_PREFIX and VLLMPERF_PARTS as for the tests.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS), *(str(TESTS / room) for room in ("kube", "bucket"))]

import parts  # noqa: E402
import yaml  # noqa: E402
from chart import CHART  # noqa: E402
from real import RealCluster  # noqa: E402
from release import IMAGE, LIMIT_S, MODEL, SONNET, claimed, cluster, load_image, values  # noqa: E402
from s3_server import ACCESS, SECRET, Server  # noqa: E402
from twins import model_folder  # noqa: E402

DOCS = CHART.parents[2] / "docs/helm.md"
LOAD = {**SONNET, "num_prompts": 200}
STARTED, UPLOADED = "kubectl -n bench logs bench-vllmperf-0 -c load-generator", "uploaded 3 files"


class Tour:
    """A shell in which the commands of the page do what they do for its readers."""

    def __init__(self, found: RealCluster, folder: Path, bucket: Server) -> None:
        self._folder, self._bucket, self._page = folder, bucket, DOCS.read_text(encoding="utf-8")
        homes = {f"HELM_{kind}_HOME": str(folder / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        programs = [str(found.prefix / "bin"), str(Path(parts.program("helm")).parent), os.environ["PATH"]]
        self._environ = {
            **os.environ,
            **homes,
            "KUBECONFIG": str(found.kubeconfig),
            "PATH": ":".join(programs),
        }
        self._environ["VALUES"] = str(folder / "values.yaml")

    def set(self, **more: Any) -> None:
        """The values beside those that the commands give."""
        given = {**values(self._bucket, servedModel=MODEL, modelStorage={}, benchmarkSpecs=[LOAD]), **more}
        given["vllm"]["args"].append(f"--model={MODEL}")
        Path(self._environ["VALUES"]).write_text(yaml.safe_dump(given), encoding="utf-8")

    def here(self) -> None:
        """One pod at this machine's own address, where port-forward of this cluster finds it."""
        self.set()
        given = yaml.safe_load(Path(self._environ["VALUES"]).read_text(encoding="utf-8"))
        given["vllm"].update(host="localhost", args=[*given["vllm"]["args"], "--host=0.0.0.0"])
        given["loadGenerator"]["listen"] = "0.0.0.0"
        Path(self._environ["VALUES"]).write_text(yaml.safe_dump(given), encoding="utf-8")

    def run(self, command: str) -> str:
        """Print a command of the page and its answer."""
        if command not in self._page:
            raise SystemExit(f"docs/helm.md does not have: {command}")
        print(f"\n$ {command}", flush=True)
        answer = self.quietly(command)
        print(answer.rstrip(), flush=True)
        return answer

    def quietly(self, command: str) -> str:
        given = command.replace("REGISTRY/vllmperf", IMAGE).replace("localhost:8081", "127.0.0.1:8081")
        given = given.replace("helm install", 'helm install -f "$VALUES" --wait')
        done = subprocess.run(
            ["bash", "-c", given], env=self._environ, cwd=CHART.parents[2], text=True, timeout=LIMIT_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.stdout

    def until(self, command: str, words: str, times: int = 1) -> None:
        deadline = time.monotonic() + LIMIT_S
        while self.quietly(command).count(words) < times:
            if time.monotonic() > deadline:
                raise SystemExit(f"no {words!r} in what {command} answers:\n{self.quietly(command)}")
            time.sleep(1)

    def export(self, name: str, command: str) -> None:
        self._environ[name] = self.quietly(command).strip()


def block(page: str, start: str) -> str:
    """The command of the page that begins so, with its further lines."""
    lines = page[page.index(start) :].splitlines()
    n = next(i for i, line in enumerate(lines) if not line.endswith(("\\", ",", "{")))
    return "\n".join(lines[: n + 1])


def tour(at: Tour, page: str) -> None:
    at.export("HF_TOKEN", "echo hf_example")
    at.set(replicaCount=2)
    at.run(block(page, "helm install bench"))
    at.run("kubectl -n bench get pods -o wide")
    for pod in (0, 1):
        at.until(f"kubectl -n bench logs bench-vllmperf-{pod} -c load-generator", UPLOADED)
    at.run(STARTED)
    print(*sorted(at._bucket.objects()), sep="\n")

    at.here()
    at.quietly('helm upgrade bench deploy/helm/vllmperf -n bench -f "$VALUES" --wait')
    at.export("TOKEN", block(page, "kubectl -n bench get secret bench-vllmperf-token").removesuffix(")"))
    at.until(STARTED, UPLOADED)
    at.run(block(page, "curl http://localhost:8081/start-load"))
    at.run("curl http://localhost:8081/readyz")
    at.until(STARTED, UPLOADED, times=2)
    at.run(STARTED)

    at.set(replicaCount=2, aggregate=True, aggregateDiscovery="api")
    print(at.quietly('helm upgrade bench deploy/helm/vllmperf -n bench -f "$VALUES" --wait | head -3'))
    at.until("kubectl -n bench get jobs", "1/1")
    at.run("kubectl -n bench logs -l app.kubernetes.io/component=aggregate -c aggregate --tail=-1")
    print(at.quietly("helm uninstall bench -n bench --wait"))
    time.sleep(10)
    print(
        at.quietly(
            "kubectl -n bench get all,pvc,secret,configmap,serviceaccount,role,rolebinding,networkpolicy"
        )
    )


def main() -> int:
    for port in (8000, 8081):
        with socket.socket() as trial:
            if not trial.connect_ex(("127.0.0.1", port)):
                raise SystemExit(f"port {port} is taken: pods of this cluster share the machine's network")
    os.environ.update(
        AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET, AWS_EC2_METADATA_DISABLED="true"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        model_folder.make(folder / "storage" / MODEL)
        bucket = Server(folder / "s3", 9123)
        try:
            with cluster(lambda name: _made(folder / name)) as found:
                load_image(found, folder)
                found.kubectl("create", "namespace", "bench")
                found.apply(*claimed(folder / "storage", "bench"))
                tour(Tour(found, folder, bucket), DOCS.read_text(encoding="utf-8"))
        finally:
            bucket.stop()
    return 0


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
