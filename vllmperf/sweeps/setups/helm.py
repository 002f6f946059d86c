"""A release of a Helm chart with values of its own; afterwards it is rolled back, or uninstalled if it was not there."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllmperf.errors import SettingError
from vllmperf.plan import checks
from vllmperf.plan.checks import setting, whole
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part
from vllmperf.sweeps.setups import pods as pods_of
from vllmperf.sweeps.setups.command import Command, CommandServer
from vllmperf.sweeps.setups.server import SetupError
from vllmperf.sweeps.setups.values import filled

WAIT = "24h"
"""ready_timeout ends the waiting."""
INSTANCE = "app.kubernetes.io/instance"


def files(name: str, value: Any) -> tuple[str, ...]:
    """One path or several."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) and one for one in found):
        raise checks.refused(name, "the path of a values file, or a list of them", value)
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Helm(Part):
    """helm: the chart, as `helm install` takes it. chart_values: beside those of values_files. selector: of the pods that serve;
    None: those of the release. base_url, pod_port: as of a Kubernetes set-up."""

    helm: str = setting("", checks.text)
    release: str = setting("", checks.text)
    chart_values: Mapping[str, object] = setting(JsonObject(), checks.json_object)
    values_files: tuple[str, ...] = setting((), files)
    namespace: str | None = setting(None, checks.text)
    context: str | None = setting(None, checks.text)
    kubeconfig: str | None = setting(None, checks.path)
    selector: str | None = setting(None, checks.text)
    base_url: str | None = setting(None, checks.text)
    pod_port: int = setting(8000, whole(1, 65535))

    def check(self) -> None:
        if self.helm and not self.release:
            raise SettingError("{release} is missing: name the release, as in `helm install RELEASE CHART`")

    def with_values(self, values: Mapping[str, Any]) -> Helm:
        """With the values of axes for their names in braces, and as values of the chart where their names have a dot."""
        own = {name: value for name, value in values.items() if "." in name}
        found: Helm = filled(self, {name: value for name, value in values.items() if name not in own})
        if not own:
            return found
        asked: dict[str, Any] = JsonObject(found.chart_values).to_dict()
        for name, value in own.items():
            *above, last = name.split(".")
            place = asked
            for part in above:
                place = place.setdefault(part, {})
            place[last] = value
        parts = {name: getattr(found, name) for name in found.__dataclass_fields__}
        return Helm(**{**parts, "chart_values": asked})

    def start(self, name: str, logs: Path) -> HelmServer:
        """Begin to install or upgrade. Raises SetupError."""
        return HelmServer(self, name, logs)

    def words(self, *more: str) -> list[str]:
        """A call of helm. Raises SetupError where there is none."""
        program = shutil.which("helm")
        if program is None:
            raise SetupError("there is no `helm` in PATH: install Helm 3, or take the set-up kind kubernetes")
        where = {
            "--namespace": self.namespace,
            "--kube-context": self.context,
            "--kubeconfig": self.kubeconfig,
        }
        return [program, *more, *(word for flag, value in where.items() if value for word in (flag, value))]


class HelmServer:
    """The release, and its pods."""

    def __init__(self, asked: Helm, name: str, logs: Path) -> None:
        self._asked = asked
        self.base_url = ""
        self.metrics_roots: Sequence[str] = []
        self._before = revision(asked)
        logs.mkdir(parents=True, exist_ok=True)
        path = (logs / f"{name}_values.json").absolute()
        path.write_text(json.dumps(JsonObject(asked.chart_values).to_dict(), indent=1), encoding="utf-8")
        chosen = [word for file in (*asked.values_files, str(path)) for word in ("--values", file)]
        words = asked.words(
            "upgrade", "--install", asked.release, asked.helm, *chosen, "--wait", "--timeout", WAIT
        )
        self._helm = CommandServer(Command(command=tuple(words), base_url="http://helm"), "", name, logs)

    def unready(self) -> str | None:
        if self.base_url:
            return None
        code = self._helm.exit_code
        if code is None:
            return f"helm is waiting for release {self._asked.release}"
        if code:
            return "helm failed"
        with pods_of.connected(self._asked.kubeconfig, self._asked.context) as cluster:
            chosen = self._asked.selector or f"{INSTANCE}={self._asked.release}"
            found = cluster.list_pods(self._asked.namespace or cluster.namespace, chosen)
        alive = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        if not alive:
            raise SetupError(f"release {self._asked.release} has no pod with {chosen}: give selector")
        self.metrics_roots = pods_of.addresses(alive, self._asked.pod_port)
        self.base_url = pods_of.base_url(self._asked.base_url, alive, self._asked.pod_port)
        return None

    def ended(self) -> str | None:
        return self._helm.ended() if self._helm.exit_code else None

    def facts(self) -> dict[str, object]:
        named = {
            name: getattr(self._asked, name)
            for name in ("helm", "release", "namespace", "context", "kubeconfig")
        }
        return {**self._helm.facts(), "release": {"helm": named, "before": self._before}}

    def stop(self) -> None:
        self._helm.stop()
        put_back(self._asked, self._before)


def revision(asked: Helm) -> int | None:
    """That of the release now; None where there is none. Raises SetupError."""
    done = _run(asked.words("history", asked.release, "--max", "1", "--output", "json"))
    if done.returncode and "not found" in done.stderr:
        return None
    try:
        return int(json.loads(_checked(done).stdout)[-1]["revision"])
    except (ValueError, LookupError, TypeError):
        raise SetupError(f"helm told no revision of {asked.release}: {done.stdout[:200]}") from None


def put_back(asked: Helm, before: int | None) -> None:
    """The release as it was. Doing it again is no error. Raises SetupError."""
    now = revision(asked)
    if now is None or now == before:
        return
    if before is None:
        _checked(_run(asked.words("uninstall", asked.release, "--wait", "--ignore-not-found")))
    else:
        _checked(_run(asked.words("rollback", asked.release, str(before))))


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def _checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise SetupError(f"helm {done.args[1]} failed: {said[-1].removeprefix('Error: ')}")
    return done
