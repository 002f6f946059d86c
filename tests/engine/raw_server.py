"""A server of raw sockets, for what the simulator is too well-behaved to do."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

Answer = Callable[[socket.socket, bytes, int], None]
"""Called with the connection, the request, and its number on that connection from 1. Raises OSError at will."""

EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def events(n: int = 3) -> bytes:
    """The body of a good answer with n tokens."""
    choices = [{"index": 0, "text": " a", "finish_reason": None} for _ in range(n)]
    choices[-1]["finish_reason"] = "length"
    usage = {"prompt_tokens": 4, "completion_tokens": n, "total_tokens": 4 + n}
    objects = [{"id": "x", "choices": [choice]} for choice in choices] + [{"choices": [], "usage": usage}]
    return b"".join(b"data: %s\n\n" % json.dumps(o).encode() for o in objects) + b"data: [DONE]\n\n"


def good(connection: socket.socket, _request: bytes, _number: int) -> None:
    body = events()
    connection.sendall(EVENT_STREAM + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


def says(answer: bytes) -> Answer:
    """Sends these bytes to every request and closes the connection."""

    def handle(connection: socket.socket, _request: bytes, _number: int) -> None:
        connection.sendall(answer)
        raise ConnectionAbortedError

    return handle


class RawServer:
    """Listens on a free port of host; keeps the requests and the number of connections."""

    def __init__(self, answer: Answer = good, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None):
        self._answer, self._tls = answer, tls
        self._listener = socket.create_server((host, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.requests: list[bytes] = []
        self.local_addresses: list[str] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> RawServer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                for number, request in enumerate(_requests(connection), 1):
                    self.requests.append(request)
                    self.local_addresses.append(connection.getsockname()[0])
                    self._answer(connection, request, number)


def _requests(connection: socket.socket) -> Iterator[bytes]:
    held = b""
    while True:
        while b"\r\n\r\n" not in held:
            held += (more := connection.recv(65536))
            if not more:
                return
        head, _, rest = held.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        need = int(length[1]) if length else 0
        while len(rest) < need:
            rest += (more := connection.recv(65536))
            if not more:
                return
        yield head + b"\r\n\r\n" + rest[:need]
        held = rest[need:]
