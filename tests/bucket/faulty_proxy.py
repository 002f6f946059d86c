"""An HTTP proxy in front of an S3 server that answers in its place, cuts connections or lets bytes trickle."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PASS, CUT, TRICKLE = "pass", "cut", "trickle"
"""What happens to a request. A number: it is answered with that status and `code`, and does not reach the server."""
TRICKLED_BYTES, TRICKLE_S = 4096, 0.05
Rule = Callable[[str], str | int]


def passing(_request: str) -> str:
    return PASS


class FaultyProxy:
    """rule: from a request ("PUT /bucket/key?…") to what happens. seen: the requests that came, in order."""

    def __init__(self, upstream: str) -> None:
        self.upstream, self.code = urlsplit(upstream), "InternalError"
        self.rule: Rule = passing
        self.seen: list[str] = []
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultyProxy:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def _handle(self) -> None:
        request = f"{self.command} {self.path}"
        self.proxy.seen.append(request)
        what = self.proxy.rule(request)
        size = int(self.headers.get("Content-Length") or 0)
        try:
            if what == CUT:
                self.rfile.read(size // 2)
                self.close_connection = True
            elif what == TRICKLE:
                self._forward(self._trickled(size))
            elif what == PASS:
                self._forward(self.rfile.read(size))
            else:
                self.rfile.read(size)
                self._answer(int(what), _error(self.proxy.code), {"Content-Type": "application/xml"})
        except OSError:
            self.close_connection = True

    def _trickled(self, size: int) -> bytes:
        body = b""
        while len(body) < size and (got := self.rfile.read(min(TRICKLED_BYTES, size - len(body)))):
            body += got
            self.proxy.released.wait(TRICKLE_S)
        return body

    def _forward(self, body: bytes) -> None:
        upstream = http.client.HTTPConnection(
            self.proxy.upstream.hostname, self.proxy.upstream.port, timeout=60
        )
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            self._answer(answer.status, answer.read(), dict(answer.getheaders()))
        finally:
            upstream.close()

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        own = ("content-length", "transfer-encoding", "connection", "date", "server")
        for name, value in headers.items():
            if name.lower() not in own or (self.command == "HEAD" and name.lower() == "content-length"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Not to stderr."""


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made up</Message></Error>".encode()
