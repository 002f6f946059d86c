from __future__ import annotations

from collections.abc import Iterator

import pytest

from vllmperf.sim import Server


@pytest.fixture
def fast() -> Iterator[Server]:
    """A simulated server that hardly waits."""
    with Server(ttft_ms=1, itl_ms=0.1) as server:
        yield server
