"""Fixtures of the engine's tests."""

import pytest


@pytest.fixture(params=[False, True], ids=["plain", "libcurl"])
def use_libcurl(request: pytest.FixtureRequest) -> bool:
    """Over our own sockets, and over libcurl."""
    return bool(request.param)
