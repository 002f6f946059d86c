"""Redirects: followed when asked for, over our own sockets and over libcurl, and never with our key to others."""

from __future__ import annotations

import contextlib
import socket

import pytest
from raw_server import RawServer, good
from runs import BODY, bench, config_of, drain, errors, feed, names, outcomes, run_engine

from vllmperf import _engine


def sends_on(status: bytes, location: bytes):
    def answer(connection, request, number):
        if b" /there" in request.split(b"\r\n")[0]:
            good(connection, request, number)
            return
        connection.sendall(
            b"HTTP/1.1 %s X\r\nLocation: %s\r\nContent-Length: 5\r\n\r\nmoved" % (status, location)
        )

    return answer


@pytest.mark.parametrize("status", [b"307", b"308"])
@pytest.mark.parametrize("location", [b"/there?a=b", b"../there", b"http://127.0.0.1:%d/there"])
def test_a_redirect_is_followed_with_the_body_when_asked_for(status, location, use_libcurl):
    with RawServer() as server:
        server._answer = sends_on(
            status, location % server.port if b"%d" in location else location.replace(b"..", b"")
        )
        wanted = config_of(
            server, follow_redirects=True, headers=["Authorization: Bearer x"], use_libcurl=use_libcurl
        )
        records, counters = run_engine(wanted, 6, BODY)
        second = [request for request in server.requests if b" /there" in request]
        assert len(second) == 6
        assert all(r.startswith(b"POST ") and r.endswith(BODY) and b"Bearer x" in r for r in second)
    assert names(records) == ["completed"] * 6
    assert records["status"].tolist() == [200] * 6
    assert records["redirects"].tolist() == [1] * 6
    assert counters["silent_retries"] == 0


def test_libcurl_follows_a_redirect_to_a_name_that_it_has_to_look_up():
    name = socket.gethostname()
    with RawServer(host="0.0.0.0") as server:
        try:
            socket.create_connection((name, server.port)).close()
        except OSError as error:
            pytest.skip(f"this machine does not find itself as {name}: {error}")
        server._answer = sends_on(b"307", f"http://{name}:{server.port}/there".encode())
        wanted = config_of(server, follow_redirects=True, use_libcurl=True, max_concurrency=1)
        records, _ = run_engine(wanted, 3, BODY)
    assert names(records) == ["completed"] * 3
    assert records["redirects"].tolist() == [1] * 3


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (b"/there#part", b"/there"),
        (b"/there?next=http://a/b", b"/there?next=http://a/b"),
        (b"there", b"/v1/there"),
        (b"?there", b"/v1/completions?there"),
        (b"http://127.0.0.1:%d?there", b"/?there"),
        (b"//127.0.0.1:%d/there", b"/there"),
    ],
)
def test_where_a_redirect_leads(location, target):
    def answer(connection, request, number):
        if b"there" in request.split(b"\r\n")[0]:
            good(connection, request, number)
            return
        to = location % server.port if b"%d" in location else location
        connection.sendall(b"HTTP/1.1 307 X\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % to)

    with RawServer(answer) as server:
        wanted = config_of(server, follow_redirects=True, headers=["Host: a.b"])
        records, _ = run_engine(wanted, 1, BODY)
        lines = server.requests[-1].split(b"\r\n")
    assert names(records) == ["completed"]
    assert lines[0] == b"POST %s HTTP/1.1" % target
    assert [line for line in lines if line.startswith(b"Host:")] == [b"Host: a.b"]


@pytest.mark.parametrize("location", [b"/there " + b"a", b"/there\ra", b"/there?" + b"a" * 600])
def test_a_redirect_that_no_request_line_can_hold_is_not_followed(location):
    with RawServer(sends_on(b"307", location)) as server:
        records, _ = run_engine(config_of(server, follow_redirects=True), 1, BODY)
        assert len(server.requests) == 1
    assert names(records) == ["http_error"]


def test_a_redirect_is_followed_on_the_connection_that_brought_it():
    with RawServer(sends_on(b"307", b"/there")) as server:
        records, _ = run_engine(config_of(server, follow_redirects=True, max_concurrency=1), 5, BODY)
        assert server.connections == 1
    assert names(records) == ["completed"] * 5


def test_a_redirect_that_ends_with_its_connection_is_followed_too():
    def answer(connection, request, number):
        if b" /there" in request.split(b"\r\n")[0]:
            good(connection, request, number)
            return
        connection.sendall(b"HTTP/1.1 307 X\r\nLocation: /there\r\nConnection: close\r\n\r\nmoved")
        raise ConnectionAbortedError

    with RawServer(answer) as server:
        records, _ = run_engine(config_of(server, follow_redirects=True), 2, BODY)
    assert names(records) == ["completed"] * 2
    assert records["redirects"].tolist() == [1] * 2


@pytest.mark.parametrize("status", [b"301", b"302", b"303"])
def test_the_older_redirects_make_a_get_without_a_body(status, use_libcurl):
    with RawServer(sends_on(status, b"/there")) as server:
        records, _ = run_engine(config_of(server, follow_redirects=True, use_libcurl=use_libcurl), 2, BODY)
        second = [request for request in server.requests if b" /there" in request]
    assert len(second) == 2
    assert all(r.startswith(b"GET ") and r.endswith(b"\r\n\r\n") for r in second)
    assert names(records) == ["completed"] * 2


def test_another_host_is_reached_without_our_key(use_libcurl):
    with RawServer() as other, RawServer(sends_on(b"307", b"http://127.0.0.2:%d/there" % 1)) as server:
        server._answer = sends_on(b"307", b"http://127.0.0.1:%d/there" % other.port)
        headers = ["Authorization: Bearer x", "X-A: b"]
        wanted = config_of(server, follow_redirects=True, headers=headers, use_libcurl=use_libcurl)
        records, _ = run_engine(wanted, 2, BODY)
        assert len(other.requests) == 2
        assert all(b"Bearer" not in r and b"X-A: b" in r for r in other.requests)
    assert names(records) == ["completed"] * 2


@pytest.mark.parametrize("location", [b"https://127.0.0.1:1/", b"http://other.invalid/", b"/loop", b""])
def test_a_redirect_that_cannot_be_followed_says_where_it_led(location):
    with RawServer(sends_on(b"307", location)) as server:
        records, _ = run_engine(config_of(server, follow_redirects=True), 1, BODY)
    assert names(records) == ["http_error"]
    assert records["status"].tolist() == [307]
    assert records["redirects"].tolist() == [10 if location == b"/loop" else 0]


def test_a_circle_of_redirects_ends_over_libcurl_too():
    with RawServer(sends_on(b"307", b"/loop")) as server:
        records, _ = run_engine(config_of(server, follow_redirects=True, use_libcurl=True), 1, BODY)
    assert (names(records), records["status"].tolist()) == (["http_error"], [307])


def test_without_being_asked_for_a_redirect_is_an_error_that_names_the_place():
    with RawServer(sends_on(b"307", b"/there")) as server:
        run = bench(server.url, n=2)
    assert outcomes(run) == {"http_error": 2}
    assert all("/there" in text for text in errors(run))


@pytest.mark.parametrize("status", [b"302", b"307"])
def test_a_run_that_is_held_to_its_servers_follows_no_redirect_to_another_one(status, use_libcurl):
    with RawServer() as server, RawServer(host="127.0.0.2") as other:
        server._answer = sends_on(status, b"http://127.0.0.2:%d/there" % other.port)
        wanted = config_of(server, follow_redirects=True, use_libcurl=use_libcurl, only_port=server.port)
        records, _ = run_engine(wanted, 3, BODY)
        assert other.requests == []
    assert names(records) == ["http_error"] * 3
    assert records["status"].tolist() == [int(status)] * 3


def test_a_run_that_is_held_to_its_servers_says_where_a_redirect_led(use_libcurl):
    with RawServer() as server, RawServer(host="127.0.0.2") as other:
        place = b"http://127.0.0.2:%d/there" % other.port
        server._answer = sends_on(b"307", place)
        wanted = config_of(server, follow_redirects=True, use_libcurl=use_libcurl, only_port=server.port)
        with contextlib.closing(_engine.Engine(wanted)) as engine:
            feed(engine, 1, BODY)
            engine.feed_end()
            engine.start()
            told = b"".join(batch["bytes"] for batch in drain(engine))
    assert b"redirected to " + place in told


def test_a_run_that_is_held_to_its_servers_follows_a_redirect_to_the_same_one(use_libcurl):
    with RawServer() as server:
        server._answer = sends_on(b"307", b"http://127.0.0.1:%d/there" % server.port)
        wanted = config_of(server, follow_redirects=True, use_libcurl=use_libcurl, only_port=server.port)
        records, _ = run_engine(wanted, 3, BODY)
    assert names(records) == ["completed"] * 3


def test_a_run_that_is_held_to_another_port_reaches_nobody(use_libcurl):
    with RawServer() as server:
        wanted = config_of(server, use_libcurl=use_libcurl, only_port=server.port % 65535 + 1)
        records, _ = run_engine(wanted, 2, BODY)
        assert server.requests == []
    assert names(records) == ["local_fault"] * 2
