"""A service that the tests of a file share, a simulator to load, a data folder with a model and a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, opened
from serving import Service, filled

from vllmperf.sim import Server


@pytest.fixture(scope="session")
def simulator() -> Iterator[Server]:
    with Server(ttft_ms=5, itl_ms=1, model="org/model") as server:
        yield server


@pytest.fixture(scope="session")
def patient() -> Iterator[Server]:
    """A simulator whose answers take a while."""
    with Server(ttft_ms=300, itl_ms=1, model="org/model") as server:
        yield server


@pytest.fixture
def data(tmp_path: Path, model: Path) -> Path:
    return filled(tmp_path / "data", model)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Service]:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    with Service(filled(tmp_path_factory.mktemp("service") / "data", model)) as made:
        yield made
        assert made.stop() == 0


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[Browser]:
    with opened() as found:
        yield found


@pytest.fixture
def browser(shared_browser: Browser) -> Iterator[Browser]:
    """Every test ends with a console without complaints, and asked nobody but the service."""
    yield shared_browser
    assert shared_browser.complaints() == []
    assert shared_browser.strangers() == set()
