"""A fast server, and tests/twins importable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllmperf.sim import Server

sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture
def fast() -> Iterator[Server]:
    """A simulated server that hardly waits."""
    with Server(ttft_ms=1, itl_ms=0.1) as server:
        yield server
