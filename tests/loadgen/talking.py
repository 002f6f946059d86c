"""A server that says something else in each answer and writes down what it got; conversations with it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import numpy as np

import vllmperf

SETTINGS = {"model": "m", "server_metrics": False, "num_prompts": 4, "max_concurrency": 2}
SHORT = {"dataset": "multi_turn", "multi_turn_turns": 3, "input_len": 5, "prefix_len": 6, "output_len": 4}
HEADER = "x-session-id"


class Got(NamedTuple):
    session: str | None
    body: dict[str, Any]
    said: str
    came_ns: int
    answered_ns: int


class Book:
    """A server that says something else in each answer and writes down what it got. fails: numbers of requests (by their order)
    that it refuses; holds: asked before each answer."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.fails: Callable[[int, dict[str, Any]], bool] = lambda _number, _body: False
        self.before: Callable[[dict[str, Any]], None] = lambda _body: None
        self.numbers = itertools.count()
        self.url = ""

    def of_sessions(self) -> list[list[Got]]:
        found = defaultdict(list)
        for got in sorted(self.got, key=lambda got: got.came_ns):
            found[got.session].append(got)
        return list(found.values())


@contextmanager
def served() -> Iterator[Book]:
    book = Book()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            came_ns, number = time.monotonic_ns(), next(book.numbers)
            book.before(body)
            fails = book.fails(number, body)
            said = f' naïve "words" of answer {number}\n'
            book.got.append(Got(self.headers[HEADER], body, said, came_ns, time.monotonic_ns()))
            self._answer(said, "messages" in body, 500 if fails else 200)

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _answer(self, said: str, is_chat: bool, status: int) -> None:
            pieces = [said[:5], said[5:]]
            choices = [
                {"index": 0, "delta": {"content": piece}} if is_chat else {"index": 0, "text": piece}
                for piece in pieces
            ]
            choices[-1]["finish_reason"] = "length"
            data = b"".join(b"data: " + json.dumps({"choices": [one]}).encode() + b"\n\n" for one in choices)
            data += b"data: [DONE]\n\n"
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    book.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield book
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def bench(book: Book, **settings: Any) -> vllmperf.Run:
    made_up = {} if "dataset" in settings else SHORT
    return vllmperf.bench(book.url, **{**SETTINGS, "session_header": HEADER, **made_up, **settings})


def by_session(run: vllmperf.Run) -> list[list[Any]]:
    rows = np.sort(run.requests, order=("session", "turn"))
    return [list(rows[rows["session"] == number]) for number in np.unique(rows["session"])]


def page(run: vllmperf.Run) -> str:
    from vllmperf.report.console import table

    return " ".join(table(run.summary).split())
