"""A plain HTTP client for the tests that shows what really came: chunks, events, how the connection ended."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)  # of the HTTP framing
    head: bytes = b""
    ended: str = "whole"  # or "closed", "reset", "timeout": what came instead of the end

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> list[str]:
        """Data of the events of a well-formed stream with LF line ends."""
        events = self.body.decode().split("\n\n")
        return [event.removeprefix("data: ") for event in events if event.startswith("data: ")]

    @property
    def events(self) -> list[dict[str, Any]]:
        assert self.data[-1] == "[DONE]"
        return [json.loads(data) for data in self.data[:-1]]

    @property
    def tokens(self) -> list[dict[str, Any]]:
        """Events that carry a token: neither the role nor the usage."""
        return [e for e in self.events if e["choices"] and "role" not in e["choices"][0].get("delta", {})]


class Wire:
    """One connection."""

    def __init__(self, port: int, timeout: float = 60) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.came = b""
        self.at = 0  # what of it was read

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    @property
    def pending(self) -> bytes:
        return self.came[self.at :]

    def more(self) -> bool:
        data = self.socket.recv(65536)
        self.came, self.at = self.pending + data, 0
        return bool(data)

    def line(self) -> bytes:
        while (end := self.came.find(b"\r\n", self.at)) < 0:
            if not self.more():
                raise EOFError
        line, self.at = self.came[self.at : end], end + 2
        return line

    def take(self, n: int) -> bytes:
        while len(self.came) - self.at < n:
            if not self.more():
                raise EOFError
        data, self.at = self.came[self.at : self.at + n], self.at + n
        return data

    def reply(self) -> Reply:
        """The next reply. EOFError, ConnectionResetError or TimeoutError when there is not even a head."""
        first = self.line()
        reply = Reply(int(first.split()[1]), [], head=first + b"\r\n")
        while line := self.line():
            name, _, value = line.decode().partition(": ")
            reply.headers.append((name, value))
            reply.head += line + b"\r\n"
        try:
            self.body(reply)
        except EOFError:
            reply.ended = "closed"
        except ConnectionResetError:
            reply.ended = "reset"
        except TimeoutError:
            reply.ended = "timeout"
        if reply.chunks:
            reply.body = b"".join(reply.chunks)
        return reply

    def body(self, reply: Reply) -> None:
        if reply.header("transfer-encoding") == "chunked":
            while size := int(self.line(), 16):
                reply.chunks.append(self.take(size))
                assert self.line() == b""
            assert self.line() == b""
        elif (length := reply.header("content-length")) is not None:
            try:
                reply.body = self.take(int(length))
            except (EOFError, ConnectionResetError, TimeoutError):
                reply.body = self.pending
                raise
        else:
            while self.more():
                pass
            reply.body, self.at = self.pending, len(self.came)

    def at_end(self) -> bool:
        """Has the other side closed? Waits for it."""
        return not self.pending and not self.socket.recv(1)


def request(
    method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, version: str = "1.1"
) -> bytes:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = {"host": "test"}
    if body is not None:
        lines |= {"content-type": "application/json", "content-length": str(len(data))}
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode() + data


def ask(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    timeout: float = 60,
) -> Reply:
    """One request on a connection of its own."""
    with Wire(port, timeout) as wire:
        wire.send(request(method, path, body, headers))
        return wire.reply()


def complete(port: int, headers: dict[str, str] | None = None, timeout: float = 60, **fields: Any) -> Reply:
    body = {"prompt": "what is it", "max_tokens": 6, "stream": True, **fields}
    return ask(port, "POST", "/v1/completions", body, headers, timeout)


def chat(port: int, headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    messages = [{"role": "user", "content": "what is it"}]
    body = {"messages": messages, "max_tokens": 6, "stream": True, **fields}
    return ask(port, "POST", "/v1/chat/completions", body, headers)
