"""Asks a server from outside: is it healthy, which model, and when does the first token of a first request come."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from vllmperf.errors import UsageError

PROMPT = "Hello"
TOKENS = 2
TOKEN_WAIT_S = 300.0
ODD = (OSError, http.client.HTTPException)


class Answer(Protocol):
    """What a door gives back: http.client's and urllib3's answers both have it."""

    status: int

    def read(self) -> bytes: ...
    def readline(self) -> bytes: ...


class Door(Protocol):
    """A way to a server. Raises OSError or HTTPException when nothing answers."""

    name: str

    def ask(
        self, method: str, path: str, body: bytes | None = None, timeout_s: float = 5.0
    ) -> Any: ...  # a context manager of an Answer


class Url:
    """A server at a URL; each question has a connection of its own, as a kubelet's probe has."""

    def __init__(self, url: str, api_key: str | None = None, insecure: bool = False) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is no URL of a server; give one such as http://127.0.0.1:8000")
        try:
            port = parts.port
        except ValueError as error:
            raise UsageError(f"{url!r}: {error}") from None
        self._tls = _tls(insecure) if parts.scheme == "https" else None
        self._host, self._port = parts.hostname, port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._headers = {"User-Agent": "vllmperf", "Connection": "close"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.name = f"{parts.scheme}://{host}:{self._port}{self._prefix}"

    @contextmanager
    def ask(
        self, method: str, path: str, body: bytes | None = None, timeout_s: float = 5.0
    ) -> Iterator[Answer]:
        connection = self._connection(timeout_s)
        try:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            kind = {"Content-Type": "application/json"} if body else {}
            connection.request(method, self._prefix + path, body, self._headers | kind)
            yield connection.getresponse()
        finally:
            connection.close()

    def is_open(self) -> bool:
        """Whether something accepts connections there."""
        try:
            socket.create_connection((self._host, self._port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)


def _tls(insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def status(door: Door, path: str = "/health", timeout_s: float = 5.0) -> int | None:
    """The HTTP status of a GET, or None when nothing answers."""
    try:
        with door.ask("GET", path, timeout_s=timeout_s) as answer:
            answer.read()
            return int(answer.status)
    except ODD:
        return None


def first_model(door: Door) -> str | None:
    """The id of the first model that the server lists."""
    try:
        with door.ask("GET", "/v1/models", timeout_s=30.0) as answer:
            return str(json.loads(answer.read())["data"][0]["id"])
    except (*ODD, ValueError, KeyError, IndexError, TypeError):
        return None


@dataclass(frozen=True)
class FirstToken:
    """When the first request left and its first token came, on the caller's axis; `why_not` when none came."""

    sent_ns: int
    token_ns: int | None
    why_not: str | None = None


@dataclass(frozen=True)
class _Try:
    path: str
    body: Mapping[str, Any]


def first_token(
    door: Door, model: str, now_ns: Callable[[], int], wait_s: float = TOKEN_WAIT_S
) -> FirstToken:
    """Ask for a streamed completion of two tokens; where there is no such route, for a chat completion."""
    asked = {"model": model, "max_tokens": TOKENS, "stream": True, "temperature": 0}
    plain = _Try("/v1/completions", {**asked, "prompt": PROMPT})
    chat = _Try("/v1/chat/completions", {**asked, "messages": [{"role": "user", "content": PROMPT}]})
    sent_ns = now_ns()
    outcome = _ask(door, plain, now_ns, wait_s)
    if isinstance(outcome, str) and outcome.startswith("HTTP status 404"):
        sent_ns = now_ns()
        outcome = _ask(door, chat, now_ns, wait_s)
    if isinstance(outcome, int):
        return FirstToken(sent_ns, outcome)
    return FirstToken(sent_ns, None, outcome)


def _ask(door: Door, one: _Try, now_ns: Callable[[], int], wait_s: float) -> int | str:
    """The instant of the first token, or why there is none."""
    try:
        with door.ask("POST", one.path, json.dumps(one.body).encode(), timeout_s=wait_s) as answer:
            if answer.status != 200:
                said = answer.read()[:200].decode("utf-8", "replace")
                return f"HTTP status {answer.status}: {said}".rstrip(": ")
            deadline = time.monotonic() + wait_s
            while (line := answer.readline()) and time.monotonic() < deadline:
                stamp = now_ns()
                what = _token(line)
                if what is True:
                    return stamp
                if what:
                    return str(what)
    except ODD as error:
        return str(error) or type(error).__name__
    return "the stream ended without a token"


def _token(line: bytes) -> bool | str:
    """Whether a line of the event stream carries a token; its message when it carries an error."""
    if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
        return False
    try:
        event = json.loads(line[5:])
        if error := event.get("error"):
            return str(error.get("message", error))
        choices = event.get("choices") or [{}]
    except (ValueError, AttributeError):
        return f"no JSON in the stream: {line[:80]!r}"
    choice = choices[0]
    if "delta" not in choice:
        return "text" in choice  # a token can have no text: half of a UTF-8 character
    delta = choice["delta"] or {}
    return bool(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"))
