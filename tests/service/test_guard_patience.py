"""Connections that say nothing, say it slowly, or are too many."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra service is not installed")

import uvicorn

from vllmperf.service.guard.middleware import AccessMiddleware
from vllmperf.service.guard.patience import uvicorn_settings
from vllmperf.service.guard.settings import Guard, Limits

LIMITS = Limits(head_s=1.0, body_s=0.5, connections=20)
ASK = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def well(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    app = AccessMiddleware(well, Guard(Path(), limits=LIMITS))
    config = uvicorn.Config(app, log_level="critical", lifespan="off", port=0, **uvicorn_settings(LIMITS))
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join(60)


def ended(connection: socket.socket) -> bool:
    """The service closes it before a minute is over."""
    connection.settimeout(60)
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def read(connection: socket.socket) -> bytes:
    """An answer to ASK, to its end."""
    got = b""
    while not got.endswith(b"ok") and (piece := connection.recv(4096)):
        got += piece
    return got


def serves(address: tuple[str, int]) -> bool:
    """Asked until there is an answer: on a busy machine this client may itself be too slow."""
    for _ in range(50):
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=60) as connection:
            connection.sendall(ASK)
            if read(connection).startswith(b"HTTP/1.1 200"):
                return True
    return False


@pytest.mark.parametrize(
    "said", [b"", b"G", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ", ASK + b"GET / HT"]
)
def test_who_never_ends_the_head_of_a_request_is_cut(said, address):
    with socket.create_connection(address) as connection:
        connection.sendall(said)
        assert ended(connection)
    assert serves(address)


def test_who_sends_the_body_too_slowly_is_answered_and_cut(address):
    head = b"POST /runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(head)
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")
        assert ended(connection)


def test_connections_beyond_the_most_are_closed_and_the_others_are_served(address):
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(address)) for _ in range(40)]
        assert all(ended(one) for one in held)
    assert serves(address)


def test_a_connection_that_asks_again_at_once_is_kept(address):
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(ASK * 3)
        got = b""
        while got.count(b"ok") < 3 and (piece := connection.recv(4096)):
            got += piece
    assert got.count(b"HTTP/1.1 200") == 3
