"""The API servers of the tests: the fake one in process, and the real one of ../shared/kube where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import real
from fake_api import FakeApi

from vllmperf import kube
from vllmperf.kube import logs, transport


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as server:
        yield server


@pytest.fixture
def cluster(api: FakeApi, tmp_path: Path) -> Iterator[kube.Cluster]:
    """A client of the fake server."""
    with kube.connect(str(api.kubeconfig(tmp_path))) as connected:
        yield connected


@pytest.fixture
def hurried_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading logs waits for moments where it waits for seconds."""
    monkeypatch.setattr(transport, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(logs, "POLL_S", 0.02)
    monkeypatch.setattr(logs, "CUT_S", 0.01)
    monkeypatch.setattr(logs, "SETTLE_S", 0.3)


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.RealCluster]:
    """A real Kubernetes, up for the session; skips with the reason where there can be none."""
    with real.running(lambda: tmp_path_factory.mktemp("kubernetes")) as cluster:
        yield cluster
