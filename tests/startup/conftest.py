"""Tests here use the fake API server of tests/kube."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fake_api import FakeApi

sys.path.append(str(Path(__file__).parents[1] / "kube"))


@pytest.fixture
def api() -> Iterator[FakeApi]:
    from fake_api import FakeApi

    with FakeApi() as server:
        yield server


@pytest.fixture
def config(api: FakeApi, tmp_path: Path) -> str:
    return str(api.kubeconfig(tmp_path))
