"""Answers that are not what they seem: what the engine counts as output, as an end, as an error."""

from __future__ import annotations

import json

import pytest
from raw_server import RawServer, events, says
from runs import bench, errors, outcomes


def chat(delta: object, finish: object = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    return b"data: %s\n\n" % json.dumps({"choices": [choice]}).encode()


def run_of(body: bytes, kind: bytes = b"text/event-stream", n: int = 2, **changes):
    """What the engine makes of a whole answer."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
    with RawServer(says(head + body)) as server:
        return bench(server.url, n=n, backend="openai-chat", **changes)


@pytest.mark.parametrize("finish", ["", "null", 0, {"type": "stop"}])
def test_a_finish_reason_that_is_none_ends_no_answer(finish):
    body = chat({"content": "a"}, finish) + chat({"content": "b"}, finish)
    run = run_of(body)
    assert outcomes(run) == {"truncated": 2}
    assert errors(run) == ["the stream ended without [DONE] or a finish reason"] * 2
    assert outcomes(run_of(body + chat({}, "stop"))) == {"completed": 2}


@pytest.mark.parametrize(
    "delta",
    [
        {"content": [{"type": "text", "text": "a"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]},
        {"content": None, "reasoning_details": [{"type": "reasoning.text", "text": "a"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": None}]},
        {"tool_calls": {"name": "f", "arguments": {"x": "a"}}},
        {"function_call": {"name": "f", "arguments": ""}},
        {"refusal": "a"},
        {"audio": {"id": "x", "transcript": "a"}},
        {"never_heard_of": "a"},
        {"never_heard_of": {"deeply": [{"hidden": "a"}]}},
    ],
)
def test_output_is_output_wherever_the_server_puts_it(delta):
    body = (
        chat({"role": "assistant", "content": ""}) + chat(delta) * 3 + chat({}, "stop") + b"data: [DONE]\n\n"
    )
    run = run_of(body)
    assert outcomes(run) == {"completed": 2}
    assert run.recording.requests["chunks"].tolist() == [3, 3]
    assert run.recording.requests["unknown_output"].tolist() == [0, 0]


def test_a_note_in_an_unknown_field_beside_the_output_is_told_and_not_counted():
    run = run_of(chat({"role": "assistant", "mood": "good"}) + chat({"content": "a"}) * 3 + chat({}, "stop"))
    assert run.recording.requests["chunks"].tolist() == [3, 3]
    assert run.recording.requests["unknown_output"].tolist() == [1, 1]


def test_the_answer_so_far_beside_a_delta_is_not_counted_again():
    body = b"".join(chat({"content": c}, message={"content": "abc"[: i + 1]}) for i, c in enumerate("abc"))
    run = run_of(body + chat({"content": "", "role": "assistant"}, "stop", message={"content": "abc"}))
    assert run.recording.requests["chunks"].tolist() == [3, 3]
    assert run.recording.texts == ["abc", "abc"]


@pytest.mark.parametrize("kind", [b"application/json", b"text/plain", b"text/html; charset=utf-8"])
def test_a_stream_is_one_under_any_content_type(kind):
    run = run_of(events(3), kind)
    assert outcomes(run) == {"completed": 2}
    assert run.recording.requests["chunks"].tolist() == [3, 3]


@pytest.mark.parametrize("body", [b"upstream connect error", b"<html>busy</html>", b"data base is down"])
def test_what_is_neither_stream_nor_json_is_malformed_and_kept(body):
    for kind in (b"text/event-stream", b"application/json", b"text/plain"):
        run = run_of(body, kind)
        assert outcomes(run) == {"malformed": 2}
        assert errors(run) == [body.decode()] * 2


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_python_writes_are_numbers(value):
    body = events(3).replace(
        b'"index": 0', b'"index": 0, "logprobs": {"token_logprobs": [%s]}' % value.encode()
    )
    assert value.encode() in body
    assert outcomes(run_of(body)) == {"completed": 2}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_with_one_line_end_between_them_are_events(end):
    run = run_of(events(4).replace(b"\n\n", end))
    assert outcomes(run) == {"completed": 2}
    assert run.recording.requests["chunks"].tolist() == [4, 4]


@pytest.mark.parametrize(
    ("usage", "tokens", "source"),
    [
        ({"completion_tokens": 0, "prompt_tokens": 0}, 4, "chunks"),
        ({"completion_tokens": 1, "prompt_tokens": 8, "total_tokens": 15}, 7, "usage"),
        ({"completion_tokens": 1, "prompt_tokens": 8, "total_tokens": 9}, 4, "chunks"),
        ({"completion_tokens": 4.0, "prompt_tokens": 8}, 4, "usage"),
        ({"completion_tokens": 9, "prompt_tokens": 8}, 9, "usage"),
    ],
)
def test_usage_that_the_answer_contradicts_is_not_used(usage, tokens, source):
    last = b"data: %s\n\n" % json.dumps({"choices": [], "usage": usage}).encode()
    run = run_of(chat({"content": "a"}) * 4 + chat({}, "stop") + last)
    assert run.recording.requests["output_tokens"].tolist() == [tokens, tokens]
    assert run.summary["tokens"]["source"] == source
    assert run.recording.requests["usage_tokens"].tolist() == [int(usage["completion_tokens"])] * 2


def test_a_last_event_without_text_is_no_token_when_nothing_counts_it():
    run = run_of(chat({"content": "a"}) * 3 + chat({"content": ""}, "stop"))
    assert run.recording.requests["output_tokens"].tolist() == [3, 3]


def test_an_index_that_counts_tokens_is_one_choice_with_gaps():
    tokens = [{"index": i, "text": "a", "finish_reason": None} for i in range(5)]
    body = b"".join(b"data: %s\n\n" % json.dumps({"choices": [each]}).encode() for each in tokens)
    last = {"index": 4, "text": "", "finish_reason": "stop"}
    run = run_of(body + b"data: %s\n\n" % json.dumps({"choices": [last]}).encode() + b"data: [DONE]\n\n")
    assert run.recording.requests["choices"].tolist() == [1, 1]
    assert run.recording.requests["chunks"].tolist() == [5, 5]
    assert run.recording.texts == ["aaaaa", "aaaaa"]


@pytest.mark.parametrize("error", [b"{}", b'""', b"false", b"null", b"[]", b'{"code": 0, "message": ""}'])
def test_an_error_that_says_nothing_fails_nothing(error):
    body = events(3).replace(b'{"choices"', b'{"error": %s, "choices"' % error)
    assert outcomes(run_of(body)) == {"completed": 2}


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"code": "Throttling", "message": "slow down"}\n\n',
        b'{"detail": "slow down"}',
        b'{"object": "error", "message": "slow down"}',
        b'{"errors": [{"title": "slow down"}]}',
    ],
)
def test_a_message_in_the_place_of_an_answer_is_what_the_server_said(body):
    run = run_of(body)
    assert outcomes(run) == {"stream_error": 2}
    assert all("slow down" in text for text in errors(run))


@pytest.mark.parametrize("reason", ["abort", "error"])
@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n"])
def test_an_answer_that_the_server_gave_up_is_no_success(reason, end):
    run = run_of(chat({"content": "a"}) * 3 + chat({"content": ""}, reason) + end)
    assert outcomes(run) == {"stream_error": 2}
    assert errors(run) == [f'the server gave up: finish_reason is "{reason}"'] * 2


def test_the_words_of_a_server_that_gave_up_are_kept():
    last = {"error": {"message": "no slot"}, "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}
    run = run_of(chat({"content": "a"}) + b"data: %s\n\n" % json.dumps(last).encode())
    assert outcomes(run) == {"stream_error": 2}
    assert all("no slot" in text for text in errors(run))


@pytest.mark.parametrize("line", [b'error: {"code": 500, "message": "slow down"}', b"error: slow down"])
def test_a_field_named_error_is_an_error(line):
    run = run_of(chat({"content": "a"}) * 2 + line + b"\n\n")
    assert outcomes(run) == {"stream_error": 2}
    assert all("slow down" in text for text in errors(run))


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": None}},
        {"prompt_cache_hit_tokens": 5, "prompt_cache_miss_tokens": 3},
        {"prompt_cache_hit_tokens": 5, "prompt_tokens_details": None},
        {"prompt_tokens_details": {"audio_tokens": 0}, "prompt_cache_hit_tokens": 5},
    ],
)
def test_cached_tokens_are_read_under_each_name(usage):
    last = {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 3, **usage}}
    run = run_of(chat({"content": "a"}) * 3 + chat({}, "stop") + b"data: %s\n\n" % json.dumps(last).encode())
    assert run.recording.requests["cached_tokens"].tolist() == [5, 5]


@pytest.mark.parametrize("status", [b"404 Not Found", b"500 Internal Server Error"])
def test_an_http_error_without_a_body_says_so(status):
    with RawServer(says(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)) as server:
        run = bench(server.url)
    assert set(errors(run)) == {"the body is empty"}
