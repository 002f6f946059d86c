"""A server whose answers are odd on purpose, for the drop-ins: what it says and how it ends is up to the test."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

MODELS = {"data": [{"id": "m", "root": "m", "owned_by": "vllm"}]}
GAP_S = 0.002


@dataclass(frozen=True)
class Answer:
    """Pieces of a body. end: "chunked" (in order), "length", "close" (neither of the two), "broken" (within the chunks),
    "silent" (in order, then the connection is closed without a word)."""

    pieces: Sequence[bytes]
    status: int = 200
    kind: str | None = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    end: str = "chunked"


Ask = Callable[[str, dict[str, Any]], Answer]
"""path, body → answer"""


def choice(path: str, text: str, **more: Any) -> dict[str, Any]:
    said = {"delta": {"content": text}} if "chat" in path else {"text": text}
    return {"index": 0, **said, **more}


def event(found: Any, end: str = "\n\n") -> bytes:
    return f"data: {found if isinstance(found, str) else json.dumps(found)}{end}".encode()


def stream(path: str, n: int = 4, end: str = "\n\n", *, done: bool = True, **more: Any) -> list[bytes]:
    """n tokens of one word each, the last with a finish reason, and [DONE]. more: members of each choice."""
    pieces = []
    for i in range(n):
        reason = "length" if i == n - 1 else None
        pieces.append(event({"choices": [choice(path, f" w{i}", **{"finish_reason": reason, **more})]}, end))
    return [*pieces, *([event("[DONE]", end)] if done else [])]


class OddServer:
    """Serves while the block runs. requests: path, headers and body of each POST; connections: the ports they came from."""

    def __init__(self, ask: Ask, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections: set[int] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(outer.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, dict(self.headers), body))
                if self.path.endswith("completions"):
                    outer.connections.add(self.client_address[1])
                self._send(ask(self.path, json.loads(body or b"{}")))

            def _send(self, answer: Answer) -> None:
                self._head(answer)
                for piece in answer.pieces:
                    framed = b"%x\r\n%s\r\n" % (len(piece), piece)
                    self.wfile.write(piece if answer.end in ("length", "close") else framed)
                    time.sleep(GAP_S)
                if answer.end in ("chunked", "silent"):
                    self.wfile.write(b"0\r\n\r\n")
                self.close_connection = answer.end in ("close", "broken", "silent")

            def _head(self, answer: Answer) -> None:
                self.send_response(answer.status)
                headers = dict(answer.headers)
                if answer.kind:
                    headers["Content-Type"] = answer.kind
                if answer.end == "length":
                    headers["Content-Length"] = str(sum(map(len, answer.pieces)))
                elif answer.end != "close":
                    headers["Transfer-Encoding"] = "chunked"
                for name, text in headers.items():
                    self.send_header(name, text)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"
        self.get: Callable[[str], Answer] = lambda _: Answer(
            [json.dumps(MODELS).encode()], kind="application/json", end="length"
        )

    def __enter__(self) -> OddServer:
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
