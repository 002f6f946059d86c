"""What the server of a killed sweep left: processes, a changed Deployment, a release of Helm."""

from __future__ import annotations

from collections.abc import Mapping

from vllmperf.sweeps.setups import helm, kubernetes, processes
from vllmperf.sweeps.setups.command import STOP_S

MARK, DEPLOYMENT, RELEASE = "mark", "deployment", "release"


def is_leftover(facts: Mapping[str, object]) -> bool:
    """Whether there is something to end, by the facts() of the server."""
    return any(key in facts for key in (MARK, DEPLOYMENT, RELEASE))


def end_leftover(facts: Mapping[str, object]) -> None:
    """End it, or put it back. Raises TargetError where the cluster does not let us."""
    if mark := facts.get(MARK):
        processes.Family(str(mark)).end(_stop_s(facts.get("stop_timeout")))
    if isinstance(asked := facts.get(DEPLOYMENT), Mapping):
        kubernetes.put_back(kubernetes.Kubernetes(**asked))
    if isinstance(asked := facts.get(RELEASE), Mapping):
        helm.put_back(helm.Helm(**asked["helm"]), asked["before"])


def _stop_s(told: object) -> float:
    return float(told) if isinstance(told, int | float) else STOP_S
