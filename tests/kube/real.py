"""A real Kubernetes on loopback, made by the scripts of ../shared/kube, for the tests that want one.

Where the machine cannot have one, `find()` says why. Environment:
  VLLMPERF_KUBE_PREFIX   folder that `build` has filled
  VLLMPERF_SHARED        folder that holds kube/ with the scripts (../shared beside the checkout)
  VLLMPERF_KUBE_STATE    a cluster that is up already, which is used and left as it is
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
UP_LIMIT_S, CALL_LIMIT_S = 240, 120

Object = dict[str, Any]


@dataclass(frozen=True)
class RealCluster:
    scripts: Path
    prefix: Path
    state: Path

    @property
    def kubeconfig(self) -> Path:
        """Contexts: admin (current, may do everything) and nobody (may do nothing)."""
        return self.state / "kubeconfig"

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Output of kubectl, `text` being its input. Raises RuntimeError with what it said."""
        command = [str(self.prefix / "bin/kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=CALL_LIMIT_S, check=False
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def empty_namespace(self, name: str) -> None:
        """There it is, without deployments and pods."""
        if f"namespace/{name}" not in self.kubectl("get", "namespaces", "-o", "name").split():
            self.kubectl("create", "namespace", name)
        self.kubectl("-n", name, "delete", "deployments,pods", "--all", "--grace-period=1")

    def apply(self, *objects: Object) -> None:
        self.kubectl(
            "apply", "-f", "-", text=json.dumps({"kind": "List", "apiVersion": "v1", "items": objects})
        )

    def restart_apiserver(self, away_s: float) -> None:
        self._script("restart-apiserver", str(self.prefix), str(self.state), str(away_s))

    def up(self) -> None:
        self._script("up", str(self.prefix), str(self.state), limit_s=UP_LIMIT_S)

    def down(self) -> None:
        self._script("down", str(self.state))

    def _script(self, name: str, *arguments: str, limit_s: float = CALL_LIMIT_S) -> None:
        environ = {**os.environ, "KUBE_ADDRESS": _free_address()} if name == "up" else None
        command = [str(self.scripts / name), *arguments]
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=limit_s, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}")


@contextmanager
def running(
    state: Callable[[], Path], changed: Callable[[Path], Path] = lambda scripts: scripts
) -> Iterator[RealCluster]:
    """A cluster that is up, ended at the end unless it was up before; skips the test with the reason where there can be none.

    state: makes the folder of its state. changed: gives the scripts to use in place of those that were found.
    """
    found = find()
    if isinstance(found, str):
        pytest.skip(found)
    scripts, prefix = found
    if up_already := os.environ.get("VLLMPERF_KUBE_STATE"):
        yield RealCluster(scripts, prefix, Path(up_already))
        return
    cluster = RealCluster(changed(scripts), prefix, state())
    cluster.up()
    try:
        yield cluster
    finally:
        cluster.down()


def find() -> tuple[Path, Path] | str:
    """(scripts, prefix), or the reason why there is no cluster to be had."""
    scripts = Path(os.environ.get("VLLMPERF_SHARED") or CHECKOUT.parent / "shared") / "kube"
    prefix = os.environ.get("VLLMPERF_KUBE_PREFIX")
    checks: list[tuple[Callable[[], bool], str]] = [
        (lambda: bool(prefix), "VLLMPERF_KUBE_PREFIX is not set: no Kubernetes was built"),
        (lambda: os.geteuid() == 0, "a real Kubernetes needs root"),
        (_may_make_namespaces, "this machine does not let us make namespaces"),
        (lambda: (scripts / "up").is_file(), f"no scripts in {scripts}"),
        (lambda: Path(prefix or "", "bin/VERSION").is_file(), f"{prefix} does not hold a whole Kubernetes"),
    ]
    for holds, reason in checks:
        if not holds():
            return reason
    return scripts, Path(prefix or "")


def _free_address() -> str:
    """An address that no other cluster of this machine has."""
    for network in range(98, 120):
        with socket.socket() as trial:
            if trial.connect_ex((f"127.{network}.0.1", 443)):
                return f"127.{network}.0.1"
    raise RuntimeError("no address is free for a cluster")


def _may_make_namespaces() -> bool:
    unshare = shutil.which("unshare")
    wanted = [unshare or "", "--mount", "--pid", "--fork", "true"]
    return unshare is not None and subprocess.run(wanted, capture_output=True, check=False).returncode == 0


def pod(
    name: str,
    program: str = "",
    labels: dict[str, str] | None = None,
    restart: str = "Always",
    **container: Any,
) -> Object:
    """A pod whose container "vllm" runs a Python program."""
    spec = {
        "name": "vllm",
        "image": "localhost/python:1",
        "command": ["python3", "-u", "-c", program],
        **container,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {"app": name}},
        "spec": {"containers": [spec], "terminationGracePeriodSeconds": 1, "restartPolicy": restart},
    }


def deployment(name: str, replicas: int, program: str) -> Object:
    template = pod(name, program)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
        },
    }
