"""Starting, sleeping and waking up, as the simulated server answers them."""

from __future__ import annotations

import time

import pytest
from wire import ask, complete

from vllmperf.sim import Server


def is_sleeping(server: Server) -> bool:
    return ask(server.port, "GET", "/is_sleeping").json["is_sleeping"]


def seconds_of(server: Server, path: str) -> float:
    begin = time.monotonic()
    assert ask(server.port, "POST", path).status == 200
    return time.monotonic() - begin


def test_sleep_and_wake_up_answer_when_they_are_done() -> None:
    with Server(sleep_ms=80, wake_ms=40) as server:
        assert not is_sleeping(server)
        assert seconds_of(server, "/sleep?level=1") >= 0.08
        assert is_sleeping(server)
        assert seconds_of(server, "/wake_up") >= 0.04
        assert not is_sleeping(server)
        assert (server.stats["sleeps"], server.stats["wakes"]) == (1, 1)


def test_a_second_sleep_changes_nothing() -> None:
    with Server(sleep_ms=1) as server:
        for _ in range(2):
            assert ask(server.port, "POST", "/sleep").status == 200
        assert is_sleeping(server)
        assert server.stats["sleeps"] == 1


def test_a_server_that_wakes_up_without_having_slept_stays_awake() -> None:
    with Server(wake_ms=600_000) as server:
        assert seconds_of(server, "/wake_up") < 300
        assert not is_sleeping(server)
        assert server.stats["wakes"] == 0


@pytest.mark.parametrize("path", ["/sleep", "/wake_up"])
def test_sleeping_is_not_asked_for_by_get(fast: Server, path: str) -> None:
    assert ask(fast.port, "GET", path).status == 405


def test_until_it_is_ready_every_request_gets_503() -> None:
    with Server(ttft_ms=0, itl_ms=0) as server:
        server._server.set_ready(False)
        for path in ("/health", "/v1/models", "/metrics", "/nonsense"):
            assert ask(server.port, "GET", path).status == 503
        assert complete(server.port).status == 503
        server._server.set_ready(True)
        assert ask(server.port, "GET", "/health").status == 200
        assert complete(server.port).status == 200
        assert server.stats["requests"] == 1
