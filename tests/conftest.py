"""A port for whoever needs one before its server is there."""

from __future__ import annotations

import random
import socket

import pytest


@pytest.fixture
def port() -> int:
    """A port of 127.0.0.1 where nobody listens: below those from which the system takes the ports of connections, so
    that no test beside this one gets it."""
    while True:
        found = random.randrange(12_000, 32_000)
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", found)):
                return found
