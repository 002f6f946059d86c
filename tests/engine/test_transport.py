"""What the transport makes of HTTP: compression, limits of this machine, ends that are none, and stamps that are true."""

from __future__ import annotations

import contextlib
import gzip
import socket
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from raw_server import EVENT_STREAM, RawServer, events, good, says
from runs import BODY, config_of, drain, feed, names, records_of, run_engine

from vllmperf import _engine
from vllmperf.sim import Server

CHUNKED = EVENT_STREAM + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


# ---- ends that are none ----


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (CHUNKED + chunk(events(2)[:80]) + b"zz\r\n", "malformed"),
        (CHUNKED + chunk(events(2)[:80]) + b"\r\n", "malformed"),
        (EVENT_STREAM + b"Content-Length: -5\r\n\r\n" + events(2), "malformed"),
        (CHUNKED + chunk(events(5).split(b"\n\n")[0] + b"\n\n"), "truncated"),
        (CHUNKED + chunk(events(5)) + b"0\r\n\r\n", "completed"),
    ],
)
def test_the_framing_decides_between_broken_cut_and_whole(answer, outcome):
    with RawServer(says(answer)) as server:
        records, _ = run_engine(config_of(server), 3, BODY)
    assert names(records) == [outcome] * 3
    assert records["clean_end"].tolist() == [outcome == "completed"] * 3


def test_a_bad_chunk_size_is_malformed_over_libcurl_too():
    with RawServer(says(CHUNKED + chunk(events(2)[:80]) + b"zz\r\n")) as server:
        records, _ = run_engine(config_of(server, use_libcurl=True), 3, BODY)
    assert names(records) == ["malformed"] * 3


def test_a_head_that_is_too_long_is_malformed(use_libcurl):
    head = EVENT_STREAM + b"X: %s\r\n\r\n" % (b"a" * 600_000)
    with RawServer(says(head + events(2))) as server:
        records, _ = run_engine(config_of(server, use_libcurl=use_libcurl), 2, BODY)
    assert names(records) == ["malformed"] * 2


def test_a_reset_in_a_stream_that_ends_with_its_connection_is_a_reset(use_libcurl):
    import struct

    def resets(connection, _request, _number):
        connection.sendall(
            EVENT_STREAM + b"Connection: close\r\n\r\n" + events(5).split(b"\n\n")[0] + b"\n\n"
        )
        time.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionAbortedError

    with RawServer(resets) as server:
        records, _ = run_engine(config_of(server, use_libcurl=use_libcurl), 3, BODY)
    assert names(records) == ["reset"] * 3
    assert records["chunks"].tolist() == [1] * 3


def test_a_kept_connection_that_is_reset_is_replaced_and_leaves_no_trace_but_the_retry(use_libcurl):
    import struct

    def resets_the_second(connection, request, number):
        if number == 1:
            good(connection, request, number)
            return
        time.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionAbortedError

    with RawServer(resets_the_second) as server:
        one_by_one = config_of(server, max_concurrency=1, use_libcurl=use_libcurl, raw_bodies=True)
        records, _ = run_engine(one_by_one, 3, BODY)
    assert names(records) == ["completed"] * 3
    assert records["clean_end"].tolist() == [1] * 3
    assert records["retries"].tolist() == [0, 1, 1]


# ---- compression that nobody asked for ----


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)]
)
@pytest.mark.parametrize("cut", [1, 7, 4096])
def test_compressed_answers_are_read(coding, pack, cut, use_libcurl):
    body = pack(events(4))
    pieces = b"".join(chunk(body[at : at + cut]) for at in range(0, len(body), cut))
    head = CHUNKED.removesuffix(b"\r\n") + b"Content-Encoding: %s\r\n\r\n" % coding.encode()
    with RawServer(says(head + pieces + b"0\r\n\r\n")) as server:
        records, _ = run_engine(config_of(server, use_libcurl=use_libcurl), 2, BODY)
    assert names(records) == ["completed"] * 2
    assert records["chunks"].tolist() == [4] * 2


@pytest.mark.parametrize("cut", [1, 7, 4096])
@pytest.mark.parametrize("behind", [b"", bytes(9)])
def test_each_member_of_gzip_is_read_and_padding_is_not(cut, behind, use_libcurl):
    members = [gzip.compress(one + b"\n\n") for one in events(4).split(b"\n\n") if one]
    body = b"".join(members) + behind
    pieces = b"".join(chunk(body[at : at + cut]) for at in range(0, len(body), cut))
    head = CHUNKED.removesuffix(b"\r\n") + b"Content-Encoding: gzip\r\n\r\n"
    with RawServer(says(head + pieces + b"0\r\n\r\n")) as server:
        records, _ = run_engine(config_of(server, use_libcurl=use_libcurl), 2, BODY)
    assert names(records) == ["completed"] * 2
    assert records["chunks"].tolist() == [4] * 2


def test_nothing_asks_for_compressed_answers(use_libcurl):
    body = gzip.compress(events(4))
    head = EVENT_STREAM + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    with RawServer(says(head + body)) as server:
        records, _ = run_engine(config_of(server, use_libcurl=use_libcurl), 2, BODY)
        assert not any(b"accept-encoding" in request.lower() for request in server.requests)
    assert names(records) == ["completed"] * 2


def errors_of(config):
    """How two requests end, and in which words."""
    with contextlib.closing(_engine.Engine(config)) as engine:
        feed(engine, 2, BODY)
        engine.feed_end()
        engine.start()
        batches = drain(engine)
    records = records_of(batches)
    data = b"".join(each["bytes"] for each in batches)
    return names(records), data.decode()


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br"])
def test_a_coding_that_cannot_be_read_is_named(coding, use_libcurl):
    head = EVENT_STREAM + b"content-encoding:  %s \r\nContent-Length: 4\r\n\r\n" % coding.encode()
    with RawServer(says(head + b"\x8b\x01\x80a")) as server:
        ends, words = errors_of(config_of(server, use_libcurl=use_libcurl))
    assert ends == ["malformed"] * 2
    assert words == f"the answer is compressed with '{coding}', which vllmperf cannot read" * 2


def test_what_is_not_compressed_as_it_says_is_malformed(use_libcurl):
    head = EVENT_STREAM + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n"
    with RawServer(says(head + b"\x1f\x8b not it")) as server:
        ends, words = errors_of(config_of(server, use_libcurl=use_libcurl))
    assert ends == ["malformed"] * 2
    assert words == "the answer is not compressed as its Content-Encoding says" * 2


def test_a_kept_connection_carries_compressed_answers_and_plain_ones(use_libcurl):
    def takes_turns(connection, _request, number):
        body = events(4) if number % 2 else gzip.compress(events(4))
        coding = b"" if number % 2 else b"Content-Encoding: gzip\r\n"
        connection.sendall(EVENT_STREAM + coding + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    with RawServer(takes_turns) as server:
        one_by_one = config_of(server, max_concurrency=1, warm_connections=0, use_libcurl=use_libcurl)
        records, _ = run_engine(one_by_one, 6, BODY)
    assert names(records) == ["completed"] * 6
    assert records["chunks"].tolist() == [4] * 6


# ---- limits of this machine ----


FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
sys.path.insert(0, sys.argv[2])
from runs import config, run_engine
from vllmperf import _engine
url = sys.argv[1]
for use_libcurl in (False, True):
    records, counters = run_engine(
        config(url=url, warm_url=url, max_concurrency=0, use_libcurl=use_libcurl), 60, b"{}"
    )
    print(sorted({_engine.OUTCOMES[o] for o in records["outcome"]}), len(records))
"""


def test_descriptors_that_run_out_are_a_local_fault_and_not_the_servers():
    def slow(connection, request, number):
        time.sleep(0.3)
        good(connection, request, number)

    from pathlib import Path

    with RawServer(slow) as server:
        done = subprocess.run(
            [sys.executable, "-c", FEW_FILES, server.url, str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout.splitlines() == ["['completed', 'local_fault'] 60"] * 2, done.stderr


# ---- when requests leave ----


def test_a_request_fed_while_streams_are_busy_leaves_before_they_end():
    with (
        Server(ttft_ms=1, itl_ms=2) as server,
        contextlib.closing(_engine.Engine(config_of(server, max_concurrency=0))) as engine,
    ):
        endless = BODY.replace(b'"max_tokens": 5', b'"max_tokens": 100000')
        feed(engine, 60, endless, at_ns=[0] * 60)
        engine.start()
        late = []
        for i in range(10):  # each leaves and is answered while the streams go on
            late += records_of([engine.drain(0.05)])["index"].tolist()
            feed(engine, 1, BODY, at_ns=[i])
        while len(late) < 10:
            late += records_of([engine.drain(0.05)])["index"].tolist()
        assert sorted(late) == list(range(60, 70))
        engine.stop(now=True)
        assert len(records_of(drain(engine))) == 60


@pytest.mark.parametrize("now", [False, True])
def test_a_run_stopped_while_it_warms_up_sends_nothing(now):
    def slow(connection, request, number):
        time.sleep(0.4)
        good(connection, request, number)

    with RawServer(slow) as server:
        with contextlib.closing(
            _engine.Engine(config_of(server, use_libcurl=True, warm_connections=2))
        ) as engine:
            feed(engine, 20, BODY)
            threading.Timer(0.1, engine.stop, kwargs={"now": now}).start()
            engine.start()
            assert len(records_of(drain(engine))) == 0
        assert not any(request.startswith(b"POST") for request in server.requests)


def test_no_request_leaves_after_the_duration():
    with Server(ttft_ms=0.1, itl_ms=0.1) as server:
        short = config_of(server, duration_ns=50_000_000, max_concurrency=8)
        records, _ = run_engine(short, 20_000, BODY)
    assert len(records) < 20_000
    assert records["sent_ns"].max() <= 50_000_000


# ---- servers that never stop ----


def floods(connection, _request, _number):
    one = events(1).split(b"\n\n")[0].replace(b'"length"', b"null") + b"\n\n"
    connection.sendall(EVENT_STREAM + b"Connection: close\r\n\r\n")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        connection.sendall(one * 10_000)
    raise ConnectionAbortedError


def test_a_server_that_never_stops_sending_holds_up_no_timeout():
    with RawServer(floods) as server:
        records, _ = run_engine(config_of(server, total_timeout_ns=500_000_000), 1, BODY)
    assert names(records) == ["total_timeout"]
    assert records["end_ns"].max() < 50_000_000_000


# ---- stamps ----


def burst_of(n: int, frame):
    def answer(connection, _request, _number):
        one = events(1).split(b"\n\n")[0].replace(b'"length"', b"null") + b"\n\n"
        connection.sendall(CHUNKED + frame(one))
        time.sleep(0.1)
        connection.sendall(b"".join(frame(one) for _ in range(n)))
        time.sleep(0.1)
        connection.sendall(frame(events(1)) + b"0\r\n\r\n")

    return answer


def test_a_burst_that_fills_a_read_to_the_byte_does_not_share_the_next_ones_stamp():
    def answer(connection, _request, _number):
        one = events(1).split(b"\n\n")[0].replace(b'"length"', b"null") + b"\n\n"
        connection.sendall(EVENT_STREAM + b"Connection: close\r\n\r\n" + one)
        time.sleep(0.1)
        connection.sendall(one.rjust(65536, b"\n"))
        time.sleep(0.1)
        connection.sendall(events(1))
        raise ConnectionAbortedError

    with RawServer(answer) as server:
        runs = [run_engine(config_of(server), 1, BODY)[0] for _ in range(4)]
    assert [run["chunks"].tolist() for run in runs] == [[3]] * 4
    assert [0] in [run["coalesced"].tolist() for run in runs]  # a busy machine may read two writes at once


@pytest.mark.parametrize("n", [100, 5000])
def test_chunks_written_at_once_share_their_stamp_however_many_reads_they_take(n, use_libcurl):
    with (
        RawServer(burst_of(n, chunk)) as server,
        contextlib.closing(
            _engine.Engine(config_of(server, keep_stamps=True, use_libcurl=use_libcurl))
        ) as engine,
    ):
        feed(engine, 1, BODY)
        engine.feed_end()
        engine.start()
        batches = drain(engine)
    records = records_of(batches)
    gaps = np.frombuffer(b"".join(b["gaps"] for b in batches), np.dtype(_engine.GAP_DTYPE))
    assert records["chunks"].tolist() == [n + 2]
    own = gaps["ns"][gaps["shared"] == 0]
    assert not np.any(own < 2_000), "a gap that never was"
    assert records["coalesced"][0] >= n * 0.9


def test_a_stream_over_tls_does_not_go_back_in_time(tmp_path):
    """What libcurl reads beyond its stamp gets the time of its reading; what it reads next may have an older stamp."""
    import ssl

    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    openssl = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout"
    subprocess.run([*openssl.split(), key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    def answer(connection, _request, _number):
        one = events(1).split(b"\n\n")[0].replace(b'"length"', b"null") + b"\n\n"
        connection.sendall(EVENT_STREAM + b"Connection: close\r\n\r\n")
        for i in range(1500):
            connection.sendall(one * (400 if i % 50 == 0 else 1 + i % 3))
        connection.sendall(events(1))
        raise ConnectionAbortedError

    with RawServer(answer, tls=tls) as server:
        wanted = config_of(
            server, keep_stamps=True, keep_text=False, max_concurrency=8, threads=1, insecure=True
        )
        with contextlib.closing(_engine.Engine(wanted)) as engine:
            feed(engine, 24, BODY)
            engine.feed_end()
            engine.start()
            batches = drain(engine)
    assert set(names(records_of(batches))) == {"completed"}
    stamps = np.frombuffer(b"".join(b["stamps"] for b in batches), np.int64).reshape(-1, 2)
    ends = np.cumsum(records_of(batches)["chunks"])
    for one in np.split(stamps, ends[:-1]):
        assert np.all(np.diff(one[:, 0]) >= 0)
        assert np.all(one[:, 0] <= one[:, 1])
