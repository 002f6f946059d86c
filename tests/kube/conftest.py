"""The API servers of the tests: the fake one in process, and the real one of ../shared/kube where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_api import FakeApi

from vllmperf import kube


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as server:
        yield server


@pytest.fixture
def cluster(api: FakeApi, tmp_path: Path) -> Iterator[kube.Cluster]:
    """A client of the fake server."""
    with kube.connect(str(api.kubeconfig(tmp_path))) as connected:
        yield connected
