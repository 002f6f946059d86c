"""The real Kubernetes with an image of this checkout, and an S3 server, for the tests of the chart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
for room in ("kube", "bucket"):
    sys.path.append(str(TESTS / room))

from real import RealCluster  # noqa: E402


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """A real Kubernetes, up for the session; skips with the reason where there can be none."""
    from release import cluster

    with cluster(tmp_path_factory.mktemp) as found:
        yield found
