"""Servers that mean harm, or are broken beyond what the simulator offers: a run ends and says what happened."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import threading
import time
import warnings

import pytest
from raw_server import EVENT_STREAM, RawServer, events
from runs import bench, errors, outcomes

from vllmperf.report import console


class Talker(RawServer):
    """Reads a little of the first request and then does as it likes."""

    def __init__(self, talk):
        super().__init__()
        self.talk, self.over = talk, threading.Event()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            connection.recv(1000)
            self.talk(connection, self.over)

    def __exit__(self, *exception):
        self.over.set()
        super().__exit__(*exception)


def answers_before_it_has_read(connection, _over):
    connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    connection.shutdown(socket.SHUT_WR)
    time.sleep(0.05)


def never_reads(_connection, over):
    over.wait(60)


def endless_head(connection, over):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not over.is_set():
        connection.sendall(b"X-A: " + b"b" * 1000 + b"\r\n")


def endless_line(connection, over):
    connection.sendall(EVENT_STREAM + b"\r\n")
    while not over.is_set():
        connection.sendall(b"data: " + b"b" * 100_000)


def only_comments(connection, over):
    connection.sendall(EVENT_STREAM + b"\r\n")
    while not over.wait(0.02):
        connection.sendall(b": ping\n\n")


def comments_after_a_token(connection, over):
    connection.sendall(EVENT_STREAM + b"\r\n" + events(2).split(b"\n\n")[0] + b"\n\n")
    while not over.wait(0.02):
        connection.sendall(b": ping\n\n")


def byte_by_byte(connection, _over):
    body = events(3)
    whole = EVENT_STREAM + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in whole:
        connection.sendall(bytes([byte]))


def binary(connection, _over):
    connection.sendall(EVENT_STREAM + b"\r\n" + bytes(range(256)) * 100)


def nul_bytes_in_the_text(connection, _over):
    body = b'data: {"choices":[{"index":0,"text":"a\\u0000b \\ud800","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    connection.sendall(EVENT_STREAM + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


PATIENT = {"first_token_timeout": 60.0, "stall_timeout": 60.0, "total_timeout": 60.0}
"""For what ends by itself, however slowly this machine reads it."""


@pytest.mark.parametrize(
    ("talk", "outcome", "settings"),
    [
        (answers_before_it_has_read, "http_error", {"input_len": 100_000, **PATIENT}),
        (never_reads, "first_token_timeout", {"input_len": 1_000_000}),
        (endless_head, "malformed", PATIENT),
        (endless_line, "malformed", PATIENT),
        (only_comments, "first_token_timeout", {}),
        (comments_after_a_token, "stalled", {"first_token_timeout": 60.0}),
        (byte_by_byte, "completed", PATIENT),
        (binary, "malformed", PATIENT),
        (nul_bytes_in_the_text, "completed", PATIENT),
    ],
)
def test_the_run_ends_and_says_what_happened(talk, outcome, settings):
    limits = {"first_token_timeout": 0.7, "stall_timeout": 0.5, "total_timeout": 60.0}
    with Talker(talk) as server:
        run = bench(server.url, n=3, **{**limits, **settings})
    assert outcomes(run) == {outcome: 3}
    if outcome != "completed":
        assert all(errors(run))
    assert "TTFT" in console.table(run.summary) or outcome != "completed"


def test_a_body_that_the_server_finds_too_large():
    run = bench(sim={"max_body_bytes": 1000}, n=8, input_len=50_000)
    assert outcomes(run) == {"http_error": 8}
    assert set(run.recording.requests["status"].tolist()) == {413}


def child_run(queue):
    queue.put(outcomes(bench(n=20)))


def test_a_forked_child_can_make_a_run_of_its_own_while_the_parent_makes_one():
    found = []
    parent = threading.Thread(target=lambda: found.append(outcomes(bench(sim={"ttft_ms": 50}, n=60))))
    parent.start()
    time.sleep(0.1)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = context.Process(target=child_run, args=[queue])
        child.start()
    assert queue.get(timeout=120) == {"completed": 20}
    child.join(60)
    parent.join(60)
    assert child.exitcode == 0
    assert found == [{"completed": 60}]
