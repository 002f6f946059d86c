"""Each of the answers through the whole client: what is counted, what was said, how it ended."""

from __future__ import annotations

import math

import pytest
from answers import ANSWERS
from answers.case import Case
from raw_server import RawServer, says
from runs import bench, errors, outcomes


def head(case: Case, framing: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%s\r\n\r\n" % (case.kind.encode(), framing)


def at_once(case: Case) -> bytes:
    return head(case, b"Content-Length: %d" % len(case.body)) + case.body


def byte_by_byte(case: Case) -> bytes:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in case.body)
    return head(case, b"Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize("framed", [at_once, byte_by_byte])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_says_what_a_careful_reader_would_say(name, framed):
    case = ANSWERS[name]
    with RawServer(says(framed(case))) as server:
        run = bench(server.url, n=1, backend="openai-chat")
    table = run.recording.requests

    def number(column: str) -> int | None:
        value = table[column].tolist()[0]
        return None if value is None or math.isnan(value) or value < 0 else int(value)

    assert outcomes(run) == {case.outcome: 1}
    assert (run.recording.texts[0] or "") == case.text
    assert number("chunks") == case.chunks
    assert number("first_chunk_bytes") == case.first
    assert number("output_tokens") == case.tokens
    assert (number("prompt_tokens"), number("cached_tokens")) == (case.prompt, case.cached)
    assert case.words in errors(run)[0]
    if case.outcome == "completed":
        assert run.summary["tokens"]["source"] == case.source
