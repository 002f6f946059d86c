"""One container of a pod, and which run of it is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllmperf.errors import UsageError
from vllmperf.kube.lists import Object, pods_path
from vllmperf.kube.stamps import parse_stamp
from vllmperf.kube.stop import Stop
from vllmperf.kube.transport import LONG_PATIENCE_S, Request, Transport

STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
SPECS = ("containers", "initContainers", "ephemeralContainers")


@dataclass(frozen=True)
class Run:
    """One run of a container; a restart makes another. `identity` is empty before the first."""

    restarts: int
    identity: str
    running: bool
    started_ns: int | None


class Container:
    """`name` may be None when the pod has only one."""

    def __init__(
        self,
        transport: Transport,
        namespace: str,
        pod: str,
        name: str | None,
        stop: Stop,
        patience_s: float = LONG_PATIENCE_S,
    ):
        self.path = f"{pods_path(namespace)}/{pod}"
        self.pod, self.name = pod, name
        self._transport, self._stop, self._patience_s = transport, stop, patience_s

    def __str__(self) -> str:
        return f"{self.pod}/{self.name}"

    def choose(self) -> None:
        """Settles the name. Raises UsageError with the names that there are when it is unknown or not clear."""
        spec = self._get()["spec"]
        names = [str(one["name"]) for kind in SPECS for one in spec.get(kind) or []]
        if self.name is not None and self.name not in names:
            raise UsageError(f"pod {self.pod} has no container {self.name}; it has: {', '.join(names)}")
        if self.name is None and len(spec["containers"]) > 1:
            raise UsageError(f"pod {self.pod} has several containers, name one of them: {', '.join(names)}")
        self.name = self.name or names[0]

    def run(self) -> Run:
        """The run that its status names now. Raises NotFoundError when the pod is gone."""
        status = self._get().get("status") or {}
        every = [one for kind in STATUSES for one in status.get(kind) or []]
        found: dict[str, Any] = next((one for one in every if one["name"] == self.name), {})
        state = found.get("state") or {}
        ended = state.get("terminated") or {}
        inner = state.get("running") or ended
        identity = str(
            found.get("containerID") or ended.get("startedAt") or ""
        )  # not every runtime keeps the ID
        started_ns = parse_stamp(inner.get("startedAt"))
        return Run(int(found.get("restartCount") or 0), identity, "running" in state, started_ns)

    def first_run(self, poll_s: float) -> Run | None:
        """The run, waiting for one; None when stopped before."""
        while not self._stop.is_set():
            run = self.run()
            if run.identity:
                return run
            self._stop.wait(poll_s)
        return None

    def _get(self) -> Object:
        pod: Object = self._transport.call(Request("GET", self.path), self._stop, self._patience_s)
        return pod
