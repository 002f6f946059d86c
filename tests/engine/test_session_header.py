"""The header with the id of a request's session: what the server sees."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import pytest
from raw_server import RawServer
from runs import BODY, config, config_of, drain, records_of

from vllmperf import _engine

SESSIONS = [7, 0, 7, 2**40]


def int64s(*values: int) -> bytes:
    return np.array(values, dtype=np.int64).tobytes()


def feed(engine: _engine.Engine, n: int, sessions: bytes | None) -> None:
    offsets = np.arange(n + 1, dtype=np.int64) * len(BODY)
    engine.feed(BODY * n, offsets.tobytes(), None, None, sessions)


def seen(server: RawServer) -> list[str]:
    posts = [request for request in server.requests if request.startswith(b"POST")]
    return sorted(
        line.decode() for post in posts for line in re.findall(rb"\r\nx-session-id: ([^\r]*)", post)
    )


@pytest.mark.parametrize("use_libcurl", [False, True])
@pytest.mark.parametrize("no_request_ids", [False, True])
def test_each_request_of_a_session_names_it_and_the_others_name_none(use_libcurl, no_request_ids):
    with RawServer() as server:
        wanted = config_of(
            server,
            session_header="x-session-id: run-",
            use_libcurl=use_libcurl,
            no_request_ids=no_request_ids,
            max_concurrency=2,
        )
        with contextlib.closing(_engine.Engine(wanted)) as engine:
            feed(engine, 4, int64s(*SESSIONS))
            feed(engine, 3, None)
            engine.feed_end()
            engine.start()
            records = records_of(drain(engine))
    assert len(records) == 7
    assert seen(server) == sorted(f"run-{number}" for number in SESSIONS)
    ids = [request for request in server.requests if b"x-request-id: " in request]
    assert not no_request_ids or not [request for request in ids if request.startswith(b"POST")]


def test_without_a_name_for_the_header_sessions_go_unsaid():
    with RawServer() as server:
        with contextlib.closing(_engine.Engine(config_of(server))) as engine:
            feed(engine, 4, int64s(*SESSIONS))
            engine.feed_end()
            engine.start()
            drain(engine)
        assert len(server.requests) >= 4
    assert seen(server) == []


@pytest.mark.parametrize("sessions", [int64s(1), int64s(1, 2, 3), int64s(1, -1)])
def test_sessions_must_be_one_a_request_and_not_negative(sessions):
    with (
        contextlib.closing(_engine.Engine(config())) as engine,
        pytest.raises(ValueError, match="sessions must"),
    ):
        feed(engine, 2, sessions)


def test_a_line_break_in_the_header_is_refused():
    with pytest.raises(ValueError, match="session_header"):
        _engine.Engine(config(session_header="a: b\r\nc: d"))
