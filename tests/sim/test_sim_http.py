"""The simulated server as an HTTP server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time

import pytest
from wire import Wire, ask, request

from vllmperf.sim import Server

COMPLETE = {"prompt": "a", "max_tokens": 3, "stream": True}


def chunked(body: bytes, sizes: list[int]) -> bytes:
    framed = b""
    for size in sizes:
        piece, body = body[:size], body[size:]
        framed += b"%x;ext=1\r\n%s\r\n" % (len(piece), piece)
    if body:
        framed += b"%X\r\n%s\r\n" % (len(body), body)
    return framed + b"0\r\ntrailer: x\r\n\r\n"


def test_a_connection_serves_one_request_after_the_other(fast: Server) -> None:
    with Wire(fast.port) as wire:
        for _ in range(3):
            wire.send(request("POST", "/v1/completions", COMPLETE))
            assert len(wire.reply().tokens) == 3
    assert fast.stats["connections"] == 1


def test_pipelined_requests_are_answered_in_their_order(fast: Server) -> None:
    with Wire(fast.port) as wire:
        wire.send(
            request("POST", "/v1/completions", COMPLETE, {"x-request-id": "first"})
            + request("GET", "/version")
            + request("POST", "/v1/completions", {**COMPLETE, "stream": False}, {"x-request-id": "third"})
        )
        assert wire.reply().header("x-request-id") == "first"
        assert wire.reply().json == {"version": "0.32.0"}
        assert wire.reply().json["id"] == "cmpl-third"


def test_an_idle_connection_is_closed_after_its_keep_alive_time() -> None:
    with Server(keep_alive_s=0.2) as server, Wire(server.port) as wire:
        wire.send(request("GET", "/health"))
        assert wire.reply().status == 200
        begin = time.monotonic()
        assert wire.at_end()
        assert time.monotonic() - begin > 0.15


def test_a_connection_without_any_request_stays_as_with_uvicorn() -> None:
    with Server(keep_alive_s=0.05) as server, Wire(server.port) as wire:
        time.sleep(0.3)
        wire.send(request("GET", "/health"))
        assert wire.reply().status == 200


@pytest.mark.parametrize(("version", "header"), [("1.0", ""), ("1.1", "close")])
def test_who_asks_for_it_gets_the_connection_closed(fast: Server, version: str, header: str) -> None:
    with Wire(fast.port) as wire:
        wire.send(request("GET", "/version", None, {"connection": header}, version))
        reply = wire.reply()
        assert reply.header("connection") == "close"
        assert reply.json == {"version": "0.32.0"}
        assert wire.at_end()


def test_a_stream_to_http_1_0_is_ended_by_the_connection(fast: Server) -> None:
    with Wire(fast.port) as wire:
        wire.send(request("POST", "/v1/completions", COMPLETE, None, "1.0"))
        reply = wire.reply()
        assert reply.header("transfer-encoding") is None
        assert len(reply.tokens) == 3


def test_close_connections_ends_the_connection_after_each_answer() -> None:
    with Server(ttft_ms=0, itl_ms=0, close_connections=True) as server, Wire(server.port) as wire:
        wire.send(request("POST", "/v1/completions", COMPLETE))
        reply = wire.reply()
        assert (reply.header("connection"), reply.ended, len(reply.tokens)) == ("close", "whole", 3)
        assert wire.at_end()


@pytest.mark.parametrize("sizes", [[1, 1, 1], [5, 20], []])
def test_a_chunked_body_is_put_together(fast: Server, sizes: list[int]) -> None:
    body = b'{"prompt": "a b c d", "max_tokens": 2}'
    head = (
        "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json; charset=utf-8\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    with Wire(fast.port) as wire:
        wire.send(head.encode() + chunked(body, sizes) + request("GET", "/version"))
        assert wire.reply().json["usage"]["prompt_tokens"] == 4
        assert wire.reply().json == {"version": "0.32.0"}


def test_a_request_may_come_byte_by_byte(fast: Server) -> None:
    with Wire(fast.port) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request("POST", "/v1/completions", COMPLETE):
            wire.send(bytes([byte]))
        assert len(wire.reply().tokens) == 3


def test_who_expects_100_continue_gets_it_before_the_body(fast: Server) -> None:
    whole = request("POST", "/v1/completions", COMPLETE, {"expect": "100-continue"})
    head, _, body = whole.partition(b"\r\n\r\n")
    with Wire(fast.port) as wire:
        wire.send(head + b"\r\n\r\n")
        assert wire.line() == b"HTTP/1.1 100 Continue"
        assert wire.line() == b""
        wire.send(body)
        assert len(wire.reply().tokens) == 3


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/2.0\r\n\r\n", 400),
        (b"GET  HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nbad name: x\r\n\r\n", 400),
        (b"POST /ping HTTP/1.1\r\nContent-Length: ten\r\n\r\n", 400),
        (b"POST /ping HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"GET /health HTTP/1.1\r\nx-request-id: a\rb\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nx-request-id: a\0b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nx: a\r\n folded\r\n\r\n", 400),
        (b"POST /ping HTTP/1.1\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n", 400),
        (b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc5\r\nhello\r\n", 400),
        (b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n3\r\nabc\r\n", 400),
        (b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 400, 431),
        (b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;x=y\r\na\r\n" * 800, 413),
        (b"POST /ping HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"GET /health HTTP/1.1\r\nlong: " + b"x" * 3000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 150 + b"\r\n", 431),
        (b"POST /ping HTTP/1.1\r\nContent-Length: 5000\r\n\r\n", 413),
        (b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n", 413),
    ],
)
def test_what_is_no_good_request_is_refused_and_the_connection_closed(raw: bytes, status: int) -> None:
    with Server(max_header_bytes=2000, max_body_bytes=4000) as server, Wire(server.port) as wire:
        wire.send(raw)
        reply = wire.reply()
        assert (reply.status, reply.header("connection")) == (status, "close")
        assert wire.at_end()


def test_http_1_7_is_http_1_and_lengths_that_agree_are_one() -> None:
    with Server() as server, Wire(server.port) as wire:
        wire.send(b"POST /ping HTTP/1.7\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}")
        wire.send(request("GET", "/version"))
        assert wire.reply().status == 200
        assert wire.reply().json == {"version": "0.32.0"}


def test_a_length_beside_chunks_is_passed_over_and_the_connection_closed() -> None:
    head = b"POST /ping HTTP/1.1\r\nContent-Length: 4000\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Server() as server, Wire(server.port) as wire:
        wire.send(head + chunked(b"abc", []))
        assert (reply := wire.reply()).status == 200
        assert reply.header("connection") == "close"
        assert wire.at_end()


def test_close_wins_over_keep_alive(fast: Server) -> None:
    with Wire(fast.port) as wire:
        wire.send(request("GET", "/version", None, {"connection": "close, keep-alive"}))
        assert wire.reply().header("connection") == "close"
        assert wire.at_end()


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nothing", "/v1/completions"])
def test_an_answer_to_head_has_no_body_and_the_connection_goes_on(fast: Server, path: str) -> None:
    with Wire(fast.port) as wire:
        wire.send(request("HEAD", path) + request("GET", "/version"))
        assert wire.line().split()[1] in (b"405", b"404")
        lengths = []
        while line := wire.line():
            lengths += [line] if line.startswith(b"content-length: ") else []
        assert lengths
        assert wire.reply().json == {"version": "0.32.0"}


@pytest.mark.parametrize("target", ["http://host:1/version", "HTTPS://h/version?x=1", "http://host//version"])
def test_a_target_may_be_a_whole_address(fast: Server, target: str) -> None:
    with Wire(fast.port) as wire:
        wire.send(request("GET", target) + request("GET", "http://host"))
        assert wire.reply().status == (404 if "//version" in target.replace("://", "") else 200)
        assert wire.reply().status == 404


def test_http_1_0_gets_no_100_continue(fast: Server) -> None:
    whole = request("POST", "/v1/completions", COMPLETE, {"expect": "100-continue"}, "1.0")
    with Wire(fast.port) as wire:
        wire.send(whole[:-5])
        time.sleep(0.1)
        wire.send(whole[-5:])
        assert wire.reply().status == 200


def test_what_follows_the_last_request_does_not_reset_its_answer(fast: Server) -> None:
    with Wire(fast.port) as wire:
        wire.send(request("POST", "/v1/completions", {**COMPLETE, "max_tokens": 50}, {"connection": "close"}))
        wire.send(b"\r\n" + b"x" * 200_000)
        reply = wire.reply()
        assert (reply.ended, len(reply.tokens)) == ("whole", 50)
        time.sleep(0.1)
        assert wire.at_end()


def test_a_long_request_may_wait_behind_an_answer() -> None:
    long = request("POST", "/v1/completions", {**COMPLETE, "prompt": "a " * 600_000, "max_tokens": 1})
    with Server(ttft_ms=200, itl_ms=20, max_model_len=10**7) as server, Wire(server.port) as wire:
        wire.send(request("POST", "/v1/completions", COMPLETE))
        wire.send(long + long + request("GET", "/version"))
        assert len(wire.reply().tokens) == 3
        assert [wire.reply().status for _ in range(3)] == [200] * 3


def test_a_client_that_hangs_up_while_its_next_requests_wait_is_gone() -> None:
    with Server(ttft_ms=10_000) as server:
        with Wire(server.port) as wire:
            wire.send(request("POST", "/v1/completions", COMPLETE))
            while ask(server.port, "GET", "/load").json != {"server_load": 1}:
                time.sleep(0.01)
            wire.send(b"x" * 500_000)
        while server.stats["client_gone"] != 1:
            time.sleep(0.01)


def test_a_refusal_arrives_though_more_of_the_request_is_on_its_way() -> None:
    with Server(max_body_bytes=1000) as server, Wire(server.port) as wire:
        with contextlib.suppress(BrokenPipeError):
            wire.send(request("POST", "/v1/completions", {"prompt": "x" * 5_000_000}))
        assert wire.reply().status == 413


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/chat/completions", 405, "POST"),
        ("DELETE", "/v1/models", 405, "GET"),
        ("POST", "/metrics", 405, "GET"),
        ("GET", "/v1", 404, None),
        ("GET", "/health?verbose=1", 200, None),
        ("POST", "/ping", 200, None),
    ],
)
def test_paths_and_methods(fast: Server, method: str, path: str, status: int, allow: str | None) -> None:
    reply = ask(fast.port, method, path, {} if method == "POST" else None)
    assert (reply.status, reply.header("allow")) == (status, allow)


def test_a_client_that_reads_late_gets_everything() -> None:
    n = 60_000  # more than the socket's buffers hold
    with Server(ttft_ms=0, itl_ms=0) as server, Wire(server.port) as wire:
        wire.send(request("POST", "/v1/completions", {"prompt": "a", "max_tokens": n, "stream": True}))
        time.sleep(0.5)
        assert len(wire.reply().data) == n + 1


def test_a_client_that_hangs_up_ends_its_answer() -> None:
    with Server(ttft_ms=10_000) as server:
        with Wire(server.port) as wire:
            wire.send(request("POST", "/v1/completions", COMPLETE))
            while ask(server.port, "GET", "/load").json != {"server_load": 1}:
                time.sleep(0.01)
        while server.stats["client_gone"] != 1:
            time.sleep(0.01)
        assert server.stats["running"] == 0


def test_many_connections_are_held_at_once(fast: Server) -> None:
    wires = [Wire(fast.port) for _ in range(500)]
    try:
        for wire in wires:
            wire.send(request("POST", "/v1/completions", COMPLETE))
        assert sum(len(wire.reply().tokens) for wire in wires) == 1500
    finally:
        for wire in wires:
            wire.socket.close()


FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
from vllmperf.sim import Server
with Server(ttft_ms=1, itl_ms=0.1) as server:
    print(server.port, flush=True)
    for line in sys.stdin:
        with open("/dev/null"): pass  # the rest of the process still gets one
        print(server.stats["open_connections"], server.stats["cpu_ns"], flush=True)
"""


def test_without_descriptors_connections_wait_their_turn_and_cost_nothing() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FEW_FILES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    with process:
        port = int(process.stdout.readline())

        def stats() -> list[int]:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            return [int(word) for word in process.stdout.readline().split()]

        wires = [Wire(port) for _ in range(100)]
        while stats()[0] < 20:
            time.sleep(0.01)
        time.sleep(0.2)
        taken, cpu_ns = stats()
        time.sleep(0.6)
        assert stats()[0] == taken < 60
        assert stats()[1] - cpu_ns < 300_000_000  # it does not spin
        for wire in wires:  # those that wait come in when others have gone
            with wire:
                wire.send(request("GET", "/version"))
                assert wire.reply().status == 200
        process.stdin.close()
        assert process.wait(60) == 0
