"""The Helm chart as its tests call it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import parts
import yaml

CHART = Path(__file__).parents[2] / "deploy/helm/vllmperf"
KUBERNETES = "1.33"
"""What templates are made for; a helm that `go install` built takes 1.20 for it."""


SPLIT = ("aggregate=true", "replicaCount=2")
CASES = {
    "document": ("hfToken=hf_example",),
    "existing_server": (
        "vllm.enabled=false",
        "target.host=vllm.models.svc",
        "results.bucket=runs",
        "results.directory=nightly",
    ),
    "aggregate": ("aggregate=true", "replicaCount=3", "results.bucket=runs", "results.existingSecret=minio"),
    "everything": (
        *("modelStorage.existingClaim=", "modelStorage.download=true", "hfTokenSecret.name=hub"),
        *("loadGenerator.data.persistence=true", "loadGenerator.token.existingSecret=api"),
        *("networkPolicy.enabled=true", "monitoring.podMonitor=true", "monitoring.serviceMonitor=true"),
        *("nodeSelector.gpu=h100", "vllm.extraArgs={--enable-prefix-caching}", "vllm.port=8001"),
        *("results.bucket=runs", "results.endpointUrl=http://minio:9000", "results.accessKeyId=a"),
        *("results.secretAccessKey=b", "results.region=us-east-1"),
    ),
}
"""Values of the golden manifests."""


def helm(folder: Path, *words: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A helm that keeps its own files in `folder`."""
    homes = {f"HELM_{kind}_HOME": str(folder / kind) for kind in ("CACHE", "CONFIG", "DATA")}
    cluster = {} if kubeconfig is None else {"KUBECONFIG": str(kubeconfig)}
    return subprocess.run(
        [parts.program("helm"), *words],
        env={**os.environ, **homes, **cluster},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def sets(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def rendered(folder: Path, *words: str, release: str = "bench") -> str:
    """What `helm template` gives for a release, the drawn token masked."""
    done = helm(folder, "template", release, str(CHART), "--kube-version", KUBERNETES, *words)
    assert done.returncode == 0, done.stderr
    lines = (
        "  token: DRAWN" if line.startswith("  token: ") else line.rstrip()
        for line in done.stdout.splitlines()
    )
    return "\n".join(lines) + "\n"


def objects(text: str) -> dict[str, dict[str, Any]]:
    """Objects of manifests, by kind and name."""
    found = [one for one in yaml.safe_load_all(text) if one]
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in found}


def containers(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The containers of the pods, by name."""
    spec = found["StatefulSet/bench-vllmperf"]["spec"]["template"]["spec"]
    return {one["name"]: one for one in [*spec["initContainers"], *spec["containers"]]}
