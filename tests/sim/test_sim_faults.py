"""Each fault, by the bytes that it sends, and the choice of who is hit."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from wire import Reply, Wire, ask, complete, request

from vllmperf.errors import UsageError
from vllmperf.sim import Server, describe_faults, parse_settings

SILENCE_S = 3  # that long nothing comes; what comes before comes sooner
USAGE = {"stream_options": {"include_usage": True}}


@contextlib.contextmanager
def faulty(*faults: str, **settings: Any) -> Iterator[Server]:
    with Server(**{"ttft_ms": 1, "itl_ms": 0.1, "faults": faults, **settings}) as server:
        yield server


def one(*faults: str, **fields: Any) -> Reply:
    with faulty(*faults) as server:
        return complete(server.port, **fields)


# ---- instead of an answer ----


def test_status_gives_that_status_with_an_error_body() -> None:
    reply = one("status:code=503")
    assert (reply.status, reply.json["error"]["code"]) == (503, 503)


def test_rate_limit_says_when_to_come_again() -> None:
    reply = one("rate_limit:retry_after=7")
    assert (reply.status, reply.header("retry-after")) == (429, "7")


def test_html_gives_a_page_with_200() -> None:
    reply = one("html")
    assert (reply.status, reply.header("content-type")) == (200, "text/html; charset=utf-8")
    assert reply.body.startswith(b"<html>")


@pytest.mark.parametrize("code", [307, 308])
def test_a_redirect_names_a_place_that_answers(code: int) -> None:
    body = {"prompt": "a", "max_tokens": 3, "stream": True}
    with faulty(f"redirect:code={code}") as server, Wire(server.port) as wire:
        wire.send(request("POST", "/v1/completions", body))
        reply = wire.reply()
        assert (reply.status, reply.header("location")) == (code, "/v1/completions?redirected")
        wire.send(request("POST", str(reply.header("location")), body))
        assert len(wire.reply().tokens) == 3


def test_drop_closes_without_a_byte() -> None:
    with pytest.raises(EOFError):
        one("drop")
    with pytest.raises(ConnectionResetError):
        one("drop:reset=1")


def test_reset_connect_resets_connections_by_their_number() -> None:
    with faulty("reset_connect@at=2") as server:
        assert ask(server.port, "GET", "/health").status == 200
        with pytest.raises(ConnectionResetError), Wire(server.port) as wire:
            wire.at_end()
        assert ask(server.port, "GET", "/health").status == 200


def test_refuse_listens_not_for_a_while_before_a_connection() -> None:
    with faulty("refuse:ms=2000@every=3") as server:
        assert complete(server.port).status == 200
        assert complete(server.port).status == 200
        with pytest.raises(ConnectionRefusedError):
            complete(server.port)
        while True:  # listens again
            try:
                assert complete(server.port).status == 200
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        assert (server.stats["windows_refused"], server.stats["connections"]) == (1, 3)


def test_silent_sends_nothing_or_all_later() -> None:
    with pytest.raises(TimeoutError):
        one("silent", timeout=0.3)
    begin = time.monotonic()
    assert len(one("silent:ms=200").tokens) == 6
    assert time.monotonic() - begin >= 0.2


def test_slow_headers_come_byte_by_byte() -> None:
    with faulty("slow_headers:byte_us=200") as server, Wire(server.port) as wire:
        wire.send(request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 3, "stream": True}))
        began = time.monotonic()
        while b"\r\n\r\n" not in wire.pending:
            wire.more()
        head = wire.pending.partition(b"\r\n\r\n")[0]
        assert time.monotonic() - began > 0.9 * 200e-6 * len(head)
        assert len(wire.reply().tokens) == 3


# ---- in the middle of a stream ----


def partial_events(reply: Reply) -> list[str]:
    return [data for data in reply.data if data != "[DONE]"]


@pytest.mark.parametrize(("fault", "ended"), [("close", "closed"), ("reset", "reset"), ("stall", "timeout")])
@pytest.mark.parametrize(("after", "events"), [(0, 0), (2, 2), (99, 5)])
def test_a_stream_ends_before_its_end(fault: str, ended: str, after: int, events: int) -> None:
    reply = one(f"{fault}:after={after}", timeout=SILENCE_S if fault == "stall" else 60)
    assert (reply.status, reply.ended, len(partial_events(reply))) == (200, ended, events)


@pytest.mark.parametrize(("fault", "ended"), [("close", "closed"), ("reset", "reset"), ("stall", "timeout")])
def test_a_body_ends_before_its_end(fault: str, ended: str) -> None:
    reply = one(fault, stream=False, timeout=SILENCE_S if fault == "stall" else 60)
    assert (reply.status, reply.ended) == (200, ended)
    assert 0 < len(reply.body) < int(reply.header("content-length") or 0)


def test_a_stall_may_end() -> None:
    assert len(one("stall:after=2:ms=100").tokens) == 6
    assert one("stall:ms=100", stream=False).json["usage"]["completion_tokens"] == 6


def test_stream_error_is_an_event_then_done() -> None:
    reply = one("stream_error:after=2:code=418")
    assert len(reply.events) == 3
    assert reply.events[-1]["error"]["code"] == 418
    assert one("stream_error", stream=False).status == 500


def test_malformed_spoils_one_event() -> None:
    data = one("malformed:after=1").data
    assert len(data) == 7
    with pytest.raises(json.JSONDecodeError):
        json.loads(data[1])
    assert json.loads(data[2])["choices"]
    with pytest.raises(json.JSONDecodeError):
        _ = one("malformed", stream=False).json


# ---- how events are written ----


@pytest.mark.parametrize(("fault", "end"), [("crlf", b"\r\n"), ("cr", b"\r")])
def test_line_ends(fault: str, end: bytes) -> None:
    body = one(fault).body
    assert body.count(end + end) == 7
    assert body.replace(end, b"").isascii()
    assert b"\n" not in body.replace(b"\r\n", b"")


def test_a_byte_order_mark_begins_the_stream() -> None:
    assert one("bom").body.startswith(b"\xef\xbb\xbfdata: {")


def test_no_space_follows_the_colon() -> None:
    assert one("no_space").body.count(b"data:{") == 6


def test_comments_stand_between_events() -> None:
    assert one("comments").body.count(b": ping\n\n") == 7
    assert one("comments:every=3").body.count(b": ping\n\n") == 3


def test_multiline_data_is_the_same_json() -> None:
    body = one("multiline", **USAGE).body.decode()
    first = body.split("\n\n")[0].split("\n")
    assert [line[:6] for line in first] == ["data: ", "data: "]
    assert json.loads("\n".join(line[6:] for line in first))["object"] == "text_completion"


def test_split_cuts_events_into_chunks_but_keeps_the_stream() -> None:
    reply = one("split:pieces=4:gap_us=100")
    assert len(reply.tokens) == 6
    assert len(reply.chunks) > 14


def test_split_is_the_same_for_the_same_seed() -> None:
    assert len({tuple(map(len, one("split:gap_us=0").chunks)) for _ in range(2)}) == 1


def test_merge_puts_events_into_one_chunk() -> None:
    reply = one("merge:events=4")
    assert len(reply.tokens) == 6
    assert [chunk.count(b"data: ") for chunk in reply.chunks] == [4, 2, 1]


def test_a_huge_line_is_valid_json() -> None:
    reply = one("huge_line:after=2:bytes=300000")
    assert max(map(len, reply.data)) > 300_000
    assert len(reply.tokens) == 6


def test_what_can_be_missing() -> None:
    assert one("no_last_blank").body.endswith(b"data: [DONE]\n")
    assert not one("no_last_blank").body.endswith(b"\n\n")
    assert b"[DONE]" not in one("no_done").body
    assert all(e["choices"][0]["finish_reason"] is None for e in one("no_finish").tokens)
    assert not any("usage" in e for e in one("no_usage", **USAGE).events)
    assert "usage" not in one("no_usage", stream=False).json


def test_no_role_leaves_out_the_first_chat_event() -> None:
    with faulty("no_role") as server:
        body = {"messages": [{"role": "user", "content": "a"}], "stream": True, "max_tokens": 2}
        reply = ask(server.port, "POST", "/v1/chat/completions", body)
    assert [list(e["choices"][0]["delta"]) for e in reply.events] == [["content"], ["content"]]


def test_wrong_usage_is_off_by_what_was_asked() -> None:
    assert one("wrong_usage:off=2", **USAGE).events[-1]["usage"]["completion_tokens"] == 8
    assert one("wrong_usage:off=-2", stream=False).json["usage"]["completion_tokens"] == 4


def test_many_tokens_and_tokens_without_text() -> None:
    reply = one("many_tokens:tokens=4", max_tokens=10, return_token_ids=True)
    assert [len(e["choices"][0]["token_ids"]) for e in reply.tokens] == [4, 4, 2]
    assert [bool(e["choices"][0]["text"]) for e in one("empty_text:every=3").tokens] == [
        True,
        True,
        False,
    ] * 2


def test_faults_can_be_combined() -> None:
    reply = one("crlf", "comments", "no_space", "many_tokens:tokens=2", "split")
    assert reply.body.count(b"data:{") == 3
    assert reply.body.endswith(b": ping\r\n\r\ndata:[DONE]\r\n\r\n")


# ---- who is hit ----


def statuses(server: Server, n: int) -> list[int]:
    return [complete(server.port).status for _ in range(n)]


def test_every_hits_each_nth_request_and_counts_only_generations() -> None:
    with faulty("status@every=3") as server:
        assert ask(server.port, "GET", "/health").status == 200
        assert statuses(server, 7) == [200, 200, 500, 200, 200, 500, 200]


def test_at_hits_the_numbers_listed() -> None:
    with faulty("status:code=400@at=1,4+5") as server:
        assert statuses(server, 6) == [400, 200, 200, 400, 400, 200]


def test_a_share_is_drawn_by_the_seed() -> None:
    runs = []
    for _ in range(2):
        with faulty("status@p=0.3", seed=5, ttft_ms=0, itl_ms=0) as server:
            runs.append(statuses(server, 100))
    assert runs[0] == runs[1]
    assert 15 < runs[0].count(500) < 45


def test_a_header_asks_for_faults(fast: Server) -> None:
    reply = complete(fast.port, {"x-sim-fault": "no_done; crlf"})
    assert b"[DONE]" not in reply.body
    assert b"\r\n\r\n" in reply.body
    assert len(complete(fast.port).tokens) == 6
    assert complete(fast.port, {"x-sim-fault": "nonsense"}).status == 400


@pytest.mark.parametrize(
    "fault",
    ["", "nonsense", "stall:later=3", "stall:after=x", "stall:after", "stall@", "stall@every=0", "stall@p=2",
     "stall@at=", "stall@at=x", "stall@sometimes=1", "stall@every=2:after=3"],
)  # fmt: skip
def test_what_is_no_fault_is_a_clear_error(fault: str) -> None:
    if not fault:
        assert Server(faults=[fault]).settings["faults"] == []
        return
    with pytest.raises(UsageError) as caught:
        Server(faults=[fault])
    assert "\n" not in str(caught.value)


def test_the_table_of_faults_is_there_for_people() -> None:
    assert "reset_connect" in describe_faults()
    assert "after=3" in describe_faults()


def test_settings_in_one_text() -> None:
    text = "ttft_ms=normal:50:5,itl-ms=10,faults=reset:after=3@at=1,2;stall@p=0.1,seed=7"
    assert parse_settings(text) == {
        "ttft_ms": "normal:50:5",
        "itl_ms": "10",
        "faults": ["reset:after=3@at=1,2", "stall@p=0.1"],
        "seed": 7,
    }
    assert parse_settings("") == {}
    for wrong in ("nonsense=1", "ttft_ms", "ttft_ms=fast", "faults=nonsense"):
        with pytest.raises(UsageError):
            parse_settings(wrong)


# ---- the framing ----


def test_a_bad_chunk_has_a_size_that_is_no_number() -> None:
    body = {"prompt": "a", "max_tokens": 6, "stream": True}
    with faulty("bad_chunk:after=2") as server, Wire(server.port) as wire:
        wire.send(request("POST", "/v1/completions", body))
        with pytest.raises(ValueError, match="five"):
            wire.reply()
        assert b'"text"' in wire.line()
    with faulty("bad_chunk") as server:  # without chunks it does nothing
        assert len(complete(server.port, stream=False).json["choices"]) == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_body_may_end_with_the_connection(stream: bool) -> None:
    reply = one("until_close", stream=stream)
    assert (reply.header("transfer-encoding"), reply.header("content-length")) == (None, None)
    assert reply.header("connection") == "close"
    assert (reply.body.endswith(b"data: [DONE]\n\n")) is stream
    assert stream or reply.json["choices"]


@pytest.mark.parametrize(("fault", "ended"), [("reset:after=3", "reset"), ("close:after=3", "whole")])
def test_a_body_that_ends_with_the_connection_may_be_cut(fault: str, ended: str) -> None:
    reply = one("until_close", fault)  # nobody can tell a close from the end
    assert reply.ended == ended
    if ended == "whole":
        assert len(reply.data) == 3


@pytest.mark.parametrize("stream", [True, False])
def test_who_hangs_up_does_it_after_the_answer_and_without_a_word(stream: bool) -> None:
    body = {"prompt": "a", "max_tokens": 3, "stream": stream}
    with faulty("hang_up") as server:
        for _ in range(2):
            with Wire(server.port) as wire:
                wire.send(request("POST", "/v1/completions", body))
                reply = wire.reply()
                assert (reply.status, reply.ended, reply.header("connection")) == (200, "whole", None)
                assert wire.at_end()
