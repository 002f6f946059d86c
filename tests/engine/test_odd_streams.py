"""Streams as servers and gateways write them, each with three tokens: none is lost, none is counted twice."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from raw_server import EVENT_STREAM, RawServer, says
from runs import bench, outcomes

DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    return b"data: %s\n\n" % json.dumps(value).encode()


def chat(delta: Any, finish: str | None = None, **more: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


TOKEN, END = chat({"content": "a"}), chat({}, "stop") + DONE
BODY = chat({"role": "assistant", "content": ""}) + TOKEN * 3 + END


def lengthy(body: bytes, *headers: bytes) -> bytes:
    head = b"".join(b"%s\r\n" % each for each in headers)
    return EVENT_STREAM + head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def chunked(body: bytes, size: int, extension: bytes = b"", trailer: bytes = b"", *headers: bytes) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    head = b"".join(b"%s\r\n" % each for each in headers)
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    return EVENT_STREAM + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"


def over_lines(body: bytes) -> bytes:
    """Each object over several data lines."""
    objects = [json.loads(part[6:]) for part in body.split(b"\n\n") if part and part != b"data: [DONE]"]
    lines = [json.dumps(each, indent=1).encode().split(b"\n") for each in objects]
    return b"".join(b"".join(b"data: %s\n" % line for line in each) + b"\n" for each in lines) + DONE


AZURE = event(
    {
        "id": "",
        "choices": [],
        "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": False}}}],
    }
)
OFFSETS = event(
    {
        "choices": [
            {"index": 0, "delta": {}, "content_filter_offsets": {"check_offset": 1}, "finish_reason": None}
        ]
    }
)
ANSWERS = {
    "a data field without a blank, CR, a mark": lengthy(
        b"\xef\xbb\xbf" + BODY.replace(b"data: ", b"data:").replace(b"\n", b"\r")
    ),
    "an object over several lines": lengthy(over_lines(BODY)),
    "an id, a type, a retry": lengthy(b"retry: 3\nid: 1\n\n" + BODY.replace(b"data: {", b"id: 7\nevent: message\ndata: {")),
    "a ping before": lengthy(b'event: ping\ndata: {"type": "ping"}\n\n' + b": keep-alive\n\n" * 5 + BODY),
    "empty choices between": lengthy((event({"choices": []}) + event({"choices": None}) + TOKEN) * 3 + END),
    "Azure's filters": lengthy(AZURE + TOKEN * 3 + OFFSETS + END),
    "a delta that is null": lengthy(chat(None) + TOKEN * 3 + END),
    "padding beside the delta": lengthy(BODY.replace(b'"choices"', b'"obfuscation": "x3 j", "choices"')),
    "output after DONE": lengthy(TOKEN * 2 + DONE + TOKEN + END),
    **{f"index {index}": lengthy(BODY.replace(b'"index": 0', b'"index": ' + index.encode()))
       for index in ('"0"', "null", "-1", "1", "1000000000000")},
    "a byte a chunk": chunked(BODY, 1),
    "extensions and trailers": chunked(BODY, 7, b';a="\\";b"', b"X-A: 1\r\nX-B: 2\r\n"),
    "a length that chunks replace": chunked(BODY, 99, b"", b"", b"Content-Length: 5"),
    "a folded header": lengthy(BODY, b"X-A: a\r\n b"),
    "line feeds alone in the head": lengthy(BODY).replace(b"\r\n", b"\n"),
    "two heads before the head": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + lengthy(BODY),
    "a length that cuts DONE off": lengthy(BODY).replace(b"%d\r\n\r\n" % len(BODY), b"%d\r\n\r\n" % (len(BODY) - 14)),
    "two members of gzip": lengthy(gzip.compress(BODY[:99]) + gzip.compress(BODY[99:]), b"Content-Encoding: gzip"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_three_tokens_are_three_however_they_are_written(name: str) -> None:
    with RawServer(says(ANSWERS[name])) as server:
        run = bench(server.url, n=1, backend="openai-chat")
    assert outcomes(run) == {"completed": 1}
    assert run.recording.requests["chunks"].tolist() == [3]
    assert run.recording.requests["choices"].tolist() == [1]
    assert run.recording.texts == ["aaa"]


@pytest.mark.parametrize("usage", [{"completion_tokens": -1}, {"completion_tokens": "9"}, [1, 2], "9", 9, {}])
def test_usage_that_is_none_leaves_the_count_to_the_chunks(usage: Any) -> None:
    with RawServer(says(lengthy(TOKEN * 3 + event({"choices": [], "usage": usage}) + END))) as server:
        run = bench(server.url, n=1, backend="openai-chat")
    assert run.recording.requests["output_tokens"].tolist() == [3]
    assert run.summary["tokens"]["source"] == "chunks"


def test_every_cut_of_head_and_body_gives_the_same_answer() -> None:
    answer = lengthy(BODY.replace(b'"a"', '"é"'.encode()))

    def talk(connection: Any, _request: bytes, _number: int) -> None:
        for at in range(len(answer)):
            connection.sendall(answer[at : at + 1])

    with RawServer(talk) as server:
        run = bench(server.url, n=1, backend="openai-chat")
    assert outcomes(run) == {"completed": 1}
    assert run.recording.texts == ["ééé"]
