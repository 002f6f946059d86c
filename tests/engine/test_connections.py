"""Connections: warm, kept, spare, fresh and lost ones, and the addresses that they go to."""

from __future__ import annotations

import contextlib
import socket
import time

import numpy as np
import pytest
from raw_server import EVENT_STREAM, RawServer, events, good
from runs import BODY, bench, config, config_of, drain, feed, names, outcomes, records_of, run_engine

from vllmperf import _engine
from vllmperf.sim import Server


def test_warm_connections_are_opened_before_the_start_and_reused():
    run = bench(n=40, concurrency=8, warm_connections=8)
    assert outcomes(run) == {"completed": 40}
    assert run.summary["client"]["connections_opened"] == 8
    assert set(run.recording.requests["connected_ns"].tolist()) == {_engine.NONE}


def test_a_closed_loop_opens_all_its_connections_before_the_start():
    run = bench(n=40, concurrency=8)
    client = run.summary["client"]
    assert (client["connections_opened"], client["connections_ahead"], client["connect_ms"]["n"]) == (8, 8, 8)
    assert (run.recording.requests["connected_ns"] == _engine.NONE).all()
    assert run.recording.plan["warm_connections"] == 8


def test_without_warm_ones_each_slot_opens_its_own_connection_once():
    run = bench(n=40, concurrency=8, warm_connections=0)
    assert run.summary["client"]["connections_opened"] == 8
    opened = run.recording.requests["connected_ns"] != _engine.NONE
    assert opened.sum() == 8


def test_fresh_connections_are_never_reused():
    with RawServer() as server:
        records, counters = run_engine(config_of(server, fresh_connections=True), 12, BODY)
        assert server.connections == counters["connections_opened"] == 12
    assert np.all(records["connected_ns"] != _engine.NONE)


def closes_at_the_second_request(connection: socket.socket, request: bytes, number: int) -> None:
    if number == 2:
        raise ConnectionAbortedError
    good(connection, request, number)


def test_the_silent_retry_of_a_reused_connection_is_seen_and_counted():
    with RawServer(closes_at_the_second_request) as server:
        records, counters = run_engine(config_of(server, max_concurrency=1), 4, BODY)
        assert len(server.requests) == 4 + 3
    assert names(records) == ["completed"] * 4
    assert records["retries"].tolist() == [0, 1, 1, 1]
    assert counters["silent_retries"] == 3
    assert counters["connections_opened"] == 4


def closes_after_each_answer(connection: socket.socket, request: bytes, number: int) -> None:
    good(connection, request, number)
    raise ConnectionAbortedError


def test_a_connection_that_the_server_closed_while_it_was_idle_is_replaced():
    with RawServer(closes_after_each_answer) as server:
        at_ns = [i * 200_000_000 for i in range(4)]
        records, counters = run_engine(config_of(server, max_concurrency=1), 4, BODY, at_ns)
        assert len(server.requests) == server.connections == counters["connections_opened"] == 4
    assert names(records) == ["completed"] * 4


def test_a_request_that_meets_the_close_is_completed_or_reset_but_never_lost():
    with RawServer(closes_after_each_answer) as server:
        records, counters = run_engine(config_of(server, max_concurrency=3), 60, BODY)
        assert len(server.requests) == names(records).count("completed")
    assert set(names(records)) <= {"completed", "reset"}
    assert records["index"].tolist() == list(range(60))
    assert counters["silent_retries"] == records["retries"].sum()
    assert set(records["output_tokens"].tolist()) <= {3, _engine.NONE}


def test_a_warm_up_is_the_first_request_again_and_again():
    with RawServer() as server:
        bench(server.url, n=4, num_warmups=3, concurrency=1)
        sent = [request.partition(b"\r\n\r\n")[2] for request in server.requests]
    assert sent[:4] == [sent[0]] * 4
    assert len(set(sent)) == 4


def test_all_addresses_of_a_name_take_their_turn():
    with RawServer(host="0.0.0.0") as server:
        addresses = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
        url = f"http://example.invalid:{server.port}/v1/completions"
        settings = config(addresses=addresses, url=url, max_concurrency=6)
        records, _ = run_engine(settings, 60, BODY)
        assert set(server.local_addresses) == set(addresses)
        assert all(b"host: example.invalid" in request.lower() for request in server.requests)
    assert names(records) == ["completed"] * 60


def test_an_ipv6_address():
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        listener.close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Server(host="::1", ttft_ms=1, itl_ms=1) as server:
        assert outcomes(bench(server.url, model="sim")) == {"completed": 6}


def test_the_wait_for_a_slot_stands_apart_in_a_rate_with_a_cap():
    run = bench(sim={"ttft_ms": 50, "itl_ms": 1}, n=20, concurrency=2, rate=200, arrival="constant")
    waits = run.recording.requests["slot_wait_ns"]
    waited = waits[waits != _engine.NONE]
    assert len(waited) >= 15
    assert waited.max() > 100_000_000
    r = run.recording.requests
    late = r["sent_ns"] - r["scheduled_ns"] - np.where(waits == _engine.NONE, 0, waits)
    assert np.all(late >= 0)
    assert run.summary["in_flight"]["max"] == 2


def test_warm_connections_send_nothing_before_the_start():
    with RawServer() as server:
        run = bench(server.url, n=6, concurrency=3, warm_connections=3)
        assert server.connections == 3
        assert all(request.startswith(b"POST") for request in server.requests)
    assert outcomes(run) == {"completed": 6}


@pytest.mark.slow
def test_how_long_a_warm_connection_is_idle_does_not_depend_on_the_time_of_the_start():
    with (
        RawServer() as server,
        contextlib.closing(
            _engine.Engine(config_of(server, max_concurrency=0, warm_connections=1))
        ) as engine,
    ):
        feed(engine, 1, BODY, at_ns=[4_500_000_000])
        engine.feed_end()
        time.sleep(1)
        engine.start()
        records = records_of(drain(engine))
    assert names(records) == ["completed"]
    assert records["connected_ns"][0] != _engine.NONE


def test_what_opening_a_connection_took_is_counted():
    with RawServer() as server, contextlib.closing(_engine.Engine(config_of(server))) as engine:
        feed(engine, 8, BODY)
        engine.feed_end()
        engine.start()
        drain(engine)
        connect = engine.histograms()["connect"]
        assert connect.count == engine.counters()["connections_opened"] == 4


def test_an_open_loop_keeps_connections_spare_when_asked_for():
    def run(spare: bool) -> int:
        """How many connections were opened that no request waited for."""
        with RawServer() as server:
            at_ns = np.arange(20) * 20_000_000
            records, counters = run_engine(
                config_of(server, max_concurrency=0, spare_connections=spare), 20, BODY, at_ns
            )
            assert names(records) == ["completed"] * 20
            opened = counters["connections_opened"]
            return int(opened - (records["connected_ns"] != _engine.NONE).sum())

    assert run(spare=True) >= 4
    assert run(spare=False) == 0


def test_spare_connections_to_a_name_without_address_are_none():
    records, _ = run_engine(config(addresses=(), max_concurrency=0, spare_connections=True), 3, BODY)
    assert names(records) == ["dns_failed"] * 3


def test_an_answer_in_front_of_a_request_closes_the_connection():
    """Bytes that nobody asked for would be read as the next answer."""

    def twice(connection, request, number):
        body = events()
        answer = EVENT_STREAM + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        connection.sendall(answer + b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    with RawServer(twice) as server:
        records, counters = run_engine(config_of(server, max_concurrency=1), 5, BODY)
        assert server.connections == counters["connections_opened"] == 5
    assert names(records) == ["completed"] * 5
