"""The real Kubernetes with an image of this checkout, and an S3 server, for the tests of the chart."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
for room in ("kube", "bucket"):
    sys.path.append(str(TESTS / room))

import real  # noqa: E402


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.RealCluster]:
    """A real Kubernetes, up for the session; skips with the reason where there can be none."""

    def for_all_users(scripts: Path) -> Path:
        return _for_all_users(scripts, tmp_path_factory.mktemp("scripts") / "kube")

    with real.running(lambda: tmp_path_factory.mktemp("kubernetes"), for_all_users) as cluster:
        yield cluster


def _for_all_users(scripts: Path, folder: Path) -> Path:
    """The scripts with another umask: under theirs containerd gives each pod a root folder that only root may enter, and the
    pods of the chart are not root."""
    shutil.copytree(scripts, folder, copy_function=shutil.copy)
    up = folder / "up"
    text = up.read_text(encoding="utf-8")
    up.chmod(0o755)
    up.write_text(text.replace("\numask 077\n", "\numask 022\n"), encoding="utf-8")
    return folder
