"""Each of the outcomes by a cause that really happens, and what is kept of it."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import time

import numpy as np
import pytest
from raw_server import EVENT_STREAM, RawServer, events, says
from runs import bench, config, errors, outcomes, run_engine

from vllmperf import _engine
from vllmperf.cli import main

JSON = json.dumps(
    {
        "choices": [{"index": 0, "text": "hello", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
).encode()
EVERY_TENTH = [
    ("status", "http_error"),
    ("stream_error:after=2", "stream_error"),
    ("close:after=2", "truncated"),
    ("reset:after=2", "reset"),
    ("stall:after=2", "stalled"),
    ("silent", "first_token_timeout"),
    ("malformed:after=2", "malformed"),
]
HARMLESS = ["split:pieces=5:gap_us=50", "comments", "crlf", "cr", "bom", "no_space", "multiline",
            "merge:events=3", "no_last_blank", "no_done", "huge_line:bytes=200000"]  # fmt: skip


# ---- nobody there ----


def test_completed_with_every_token():
    run = bench()
    assert outcomes(run) == {"completed": 6}
    assert run.summary["tokens"]["output"] == 30
    assert run.summary["tokens"]["source"] == "usage"
    assert errors(run) == [""] * 6


def test_refused_by_a_closed_port(port):
    run = bench(f"http://127.0.0.1:{port}")
    assert outcomes(run) == {"refused": 6}
    assert all(errors(run))
    assert run.summary["requests"]["completed"] == 0
    assert run.summary["metrics"]["ttft_ms"] is None


def test_dns_failed_when_the_name_has_no_address():
    records, counters = run_engine(config(addresses=()), 7)
    assert [_engine.OUTCOMES[o] for o in records["outcome"]] == ["dns_failed"] * 7
    assert (counters["done"], counters["in_flight"], counters["connections_opened"]) == (7, 0, 0)


def test_an_unknown_host_is_said_before_the_run(capfd, tmp_path):
    record = tmp_path / "run"
    code = main(
        ["bench", "--base-url", "http://no-such-host.invalid:1", "--model", "m", "--record", str(record)]
    )
    out, err = capfd.readouterr()
    assert code == 3
    assert out == ""
    assert err.count("\n") == 1
    assert "no-such-host.invalid" in err
    assert not record.exists()


@contextlib.contextmanager
def deaf_listener():
    """A port whose queue of connections is full: further ones get no answer at all."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()[1]


@pytest.mark.slow
def test_connect_timeout_at_a_listener_that_takes_nobody():
    with deaf_listener() as port:
        run = bench(f"http://127.0.0.1:{port}", n=3, concurrency=None, connect_timeout=0.3)
    assert outcomes(run) == {"connect_timeout": 3}
    records = run.recording.requests
    assert np.all(records["end_ns"] - records["sent_ns"] >= 300_000_000)
    assert "--connect-timeout" in errors(run)[0]


# ---- TLS ----


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: no certificate can be made")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True)  # fmt: skip
    return key, cert


@pytest.fixture
def tls_server(certificate):
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with RawServer(tls=context) as server:
        yield server


def test_tls_failed_for_a_certificate_that_nobody_signed(tls_server):
    run = bench(tls_server.url)
    assert outcomes(run) == {"tls_failed": 6}
    assert tls_server.requests == []
    assert all("cert" in text.lower() for text in errors(run))


@pytest.mark.parametrize("threads", [1, 2])
def test_insecure_takes_any_certificate(tls_server, threads):
    run = bench(tls_server.url, n=12, insecure=True, threads=threads)
    assert outcomes(run) == {"completed": 12}
    assert run.summary["tokens"]["output"] == 36


def test_cacert_makes_it_known(tls_server, certificate):
    run = bench(tls_server.url, cacert=str(certificate[1]))
    assert outcomes(run) == {"completed": 6}


def test_each_member_of_gzip_is_read_over_tls(certificate):
    body = gzip.compress(events(4)[:99]) + gzip.compress(events(4)[99:])
    head = EVENT_STREAM + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    with RawServer(says(head + body), tls=context) as server:
        run = bench(server.url, n=2, insecure=True)
    assert outcomes(run) == {"completed": 2}
    assert run.recording.requests["chunks"].tolist() == [4, 4]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_environment_makes_it_known_too(tls_server, certificate, variable, monkeypatch):
    cert = certificate[1]
    asked = ["openssl", "x509", "-noout", "-hash", "-in", cert]
    name = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip() + ".0"
    folder = cert.parent / "hashes"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(cert.read_bytes())
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv(variable, str(cert if variable == "SSL_CERT_FILE" else folder))
    assert outcomes(bench(tls_server.url)) == {"completed": 6}


@pytest.mark.slow
def test_a_plain_server_behind_https_never_connects():
    with RawServer(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        run = bench(
            server.url.replace("http:", "https:"), n=2, insecure=True, concurrency=None, connect_timeout=0.5
        )
    assert outcomes(run) == {"connect_timeout": 2}


# ---- time-outs ----


def test_first_token_timeout():
    run = bench(sim={"faults": ["silent"]}, first_token_timeout=0.3)
    assert outcomes(run) == {"first_token_timeout": 6}


def test_stalled_keeps_what_came_before():
    run = bench(sim={"faults": ["stall:after=3"]}, stall_timeout=0.3)
    assert outcomes(run) == {"stalled": 6}
    assert run.recording.requests["chunks"].tolist() == [3] * 6
    assert all(run.recording.texts)


def test_total_timeout_of_a_stream_that_goes_on_and_on():
    run = bench(sim={"itl_ms": 20}, output_len=10_000, total_timeout=0.4)
    assert outcomes(run) == {"total_timeout": 6}
    assert run.recording.requests["chunks"].min() > 3


def test_incomplete_is_what_the_end_of_the_run_cuts():
    run = bench(sim={"itl_ms": 20}, n=1000, output_len=10_000, duration=0.3, grace_period=0.0)
    assert outcomes(run) == {"incomplete": 6}
    assert run.summary["requests"]["sent"] == 6


def test_the_grace_period_lets_the_last_ones_finish():
    run = bench(sim={"ttft_ms": 300}, n=1000, duration=0.1, grace_period=5.0)
    assert outcomes(run) == {"completed": 6}


# ---- a server that fails ----


def test_http_error_keeps_status_and_body():
    run = bench(sim={"faults": ["status:code=503"]})
    assert outcomes(run) == {"http_error": 6}
    assert run.recording.requests["status"].tolist() == [503] * 6
    assert all("error" in text for text in errors(run))


def test_of_a_long_error_body_the_first_16_kb_are_kept():
    body = b"<" + b"x" * 20_000 + b">"
    with RawServer(
        says(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    ) as server:
        run = bench(server.url)
    assert outcomes(run) == {"http_error": 6}
    assert {text.encode() for text in errors(run)} == {body[:16384]}


def test_an_error_without_a_body_is_an_http_error():
    with RawServer(says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")) as server:
        run = bench(server.url)
    assert outcomes(run) == {"http_error": 6}


def test_a_redirect_is_an_http_error_and_is_not_followed():
    with RawServer(says(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")) as server:
        run = bench(server.url)
        assert len(server.requests) == 6
    assert outcomes(run) == {"http_error": 6}


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (events(), "completed"),
        (events().replace(b"data: [DONE]\n\n", b""), "completed"),
        (events().split(b"data: ", 3)[0], "no_tokens"),
        (b"data: [DONE]\n\n", "no_tokens"),
        (b"", "no_tokens"),
        (b'data: {"error": {"message": "out of memory", "code": 500}}\n\n', "stream_error"),
        (b"event: error\ndata: engine died\n\n", "stream_error"),
        (b"data: {]\n\n", "malformed"),
    ],
)
def test_bodies_of_a_stream(body, outcome):
    head = EVENT_STREAM + b"Content-Length: %d\r\n\r\n" % len(body)
    with RawServer(says(head + body)) as server:
        assert outcomes(bench(server.url, n=2)) == {outcome: 2}


def test_truncated_by_an_orderly_close_without_an_end_of_the_stream():
    cut = b"\n\n".join(events(5).split(b"\n\n")[:2]) + b"\n\n"
    with RawServer(says(EVENT_STREAM + b"Connection: close\r\n\r\n" + cut)) as server:
        run = bench(server.url)
    assert outcomes(run) == {"truncated": 6}
    assert run.recording.requests["chunks"].tolist() == [2] * 6


@pytest.mark.parametrize("head", [b"Connection: close", b"Content-Length: 5000"])
def test_a_stream_cut_within_an_event_is_truncated_and_keeps_the_tokens_before(head):
    body = events(5)
    with RawServer(says(EVENT_STREAM + head + b"\r\n\r\n" + body[: body.index(b"\n\n") + 30])) as server:
        run = bench(server.url)
    assert outcomes(run) == {"truncated": 6}
    assert run.recording.requests["chunks"].tolist() == [1] * 6


@pytest.mark.parametrize(
    ("body", "length", "outcome"),
    [(JSON, len(JSON), "completed"), (JSON[:30], len(JSON), "truncated"), (JSON[:30], 30, "malformed"),
     (b"[]", 2, "malformed"), (b"", 0, "no_tokens"), (b'{"error": {"message": "boom"}}', 30, "stream_error")],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False])
def test_a_plain_json_body(body, length, outcome, stream):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length
    with RawServer(says(head + body)) as server:
        run = bench(server.url, n=2, stream=stream)
    assert outcomes(run) == {outcome: 2}
    if outcome == "completed":
        assert run.recording.requests["output_tokens"].tolist() == [2, 2]
        assert run.recording.texts == ["hello", "hello"]
        assert run.summary["metrics"]["ttft_ms"] is None
        assert run.summary["metrics"]["e2el_ms"]["n"] == 2


@pytest.mark.parametrize(
    "before", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]
)
def test_heads_before_the_head_are_no_answer(before):
    body = events()
    head = before + EVENT_STREAM + b"Content-Length: %d\r\n\r\n" % len(body)
    with RawServer(says(head + body)) as server:
        run = bench(server.url, n=2)
    assert outcomes(run) == {"completed": 2}
    assert run.recording.requests["status"].tolist() == [200, 200]


def test_a_transfer_that_does_not_end_after_done_is_completed_and_ends():
    def lingers(connection, _request, _number):
        connection.sendall(EVENT_STREAM + b"\r\n" + events())

    with RawServer(lingers) as server:
        run = bench(server.url, n=2)
    assert outcomes(run) == {"completed": 2}
    assert run.summary["tokens"]["output"] == 6


def test_a_web_page_in_place_of_an_answer_is_malformed_and_kept():
    run = bench(sim={"faults": ["html"]})
    assert outcomes(run) == {"malformed": 6}
    assert all("<" in text for text in errors(run))


def test_what_is_no_http_is_malformed():
    with RawServer(says(b"SSH-2.0-OpenSSH_9.6\r\n")) as server:
        run = bench(server.url)
    assert outcomes(run) == {"malformed": 6}
    assert all(errors(run))


# ---- every tenth of 60, and all of them ----


@pytest.mark.parametrize(("fault", "outcome"), EVERY_TENTH)
def test_a_fault_on_every_tenth_of_60_spares_the_54(fault, outcome):
    limits = {"first_token_timeout": 0.5, "stall_timeout": 0.5}
    run = bench(sim={"faults": [f"{fault}@every=10"]}, n=60, concurrency=10, **limits)
    assert outcomes(run) == {"completed": 54, outcome: 6}
    assert run.summary["tokens"]["output"] == 54 * 5
    done = run.recording.requests["outcome"] == _engine.OUTCOMES.index("completed")
    assert set(run.recording.requests["chunks"][done].tolist()) == {5}


def test_a_new_connection_closed_without_an_answer_is_a_reset():
    faults = {"faults": ["drop@every=10"], "close_connections": True}
    run = bench(sim=faults, n=60, concurrency=10, warm_connections=0)
    assert outcomes(run) == {"completed": 54, "reset": 6}
    assert run.summary["client"]["silent_retries"] == 0


def test_a_reused_connection_that_drops_is_replaced_and_that_is_counted():
    # so far apart that the second try, on a new connection, is never the next that is dropped
    run = bench(sim={"faults": ["drop@at=30,50,70"]}, n=80, concurrency=4)
    assert outcomes(run) == {"completed": 80}
    assert run.summary["client"]["silent_retries"] == run.recording.requests["retries"].sum() == 3


def test_refused_now_and_then():
    faults = {"faults": ["refuse:ms=25@every=10"], "close_connections": True}
    run = bench(sim=faults, n=60, concurrency=None, rate=100, arrival="constant", warm_connections=0)
    found = outcomes(run)
    # how many depends on how punctual this machine is; one that lies in the listener's queue as it closes is reset
    assert {"completed", "refused"} <= set(found) <= {"completed", "refused", "reset"}
    assert sum(found.values()) == 60
    assert run.summary["tokens"]["output"] == 5 * found["completed"]


@pytest.mark.parametrize("backend", ["openai", "openai-chat"])
@pytest.mark.parametrize("fault", HARMLESS)
def test_odd_but_lawful_streams_lose_nothing(fault, backend):
    run = bench(sim={"faults": [fault]}, n=60, concurrency=20, backend=backend)
    assert outcomes(run) == {"completed": 60}
    assert run.summary["tokens"]["output"] == 300
    assert run.recording.requests["chunks"].tolist() == [5] * 60
    assert all(run.recording.texts)
