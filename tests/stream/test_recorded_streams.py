"""Every recorded event stream of real servers through the parsers: the same tokens and usage as recorded."""

import json
from collections import Counter, defaultdict
from typing import Any

import pytest
from recordings import Said, Stream, dechunked, objects, recorded, said
from twins import delta as delta_twin
from twins import sse as sse_twin

from vllmperf._engine import delta_scan, sse_parse

STREAMS = recorded()
BY_NAME = {(stream.version, stream.name): stream for stream in STREAMS}
VERSIONS = sorted({stream.version for stream in STREAMS})

every_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda s: f"{s.version}-{s.name}")


def scans(events: list[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    found = [delta_scan(data) for _, data in events]
    return [scan for scan in found if scan is not None]


def said_by_parsers(pieces: list[bytes]) -> Said:
    texts: dict[int, str] = defaultdict(str)
    reasons, ids, usage, error = {}, None, None, None
    for scan in scans(sse_parse(pieces, end=False)):
        error = json.loads(scan["error"]) if scan["error"] else error
        if scan["completion_tokens"] is not None:
            usage = (scan["prompt_tokens"], scan["completion_tokens"])
        for choice in scan["choices"]:
            texts[choice["index"]] += choice["content"] or ""
            if choice["finish_reason"]:
                reasons[choice["index"]] = choice["finish_reason"]
            if choice["token_ids"] is not None:
                ids = (ids or 0) + choice["token_ids"]
    return Said(dict(texts), reasons, ids, usage, error)


def output_events(stream: Stream) -> int:
    return sum(choice["is_output"] for scan in scans(sse_parse([stream.body])) for choice in scan["choices"])


@every_stream
def test_tokens_usage_and_reasons_are_those_recorded_however_it_is_cut(stream: Stream) -> None:
    expected = said(stream.body)
    assert said_by_parsers(stream.pieces) == expected
    assert said_by_parsers([stream.body]) == expected
    assert said_by_parsers([bytes([byte]) for byte in stream.body]) == expected


@every_stream
def test_events_and_chunks_are_those_of_the_twins(stream: Stream) -> None:
    events = sse_twin.parse(stream.body)
    assert sse_parse(stream.pieces) == events
    for data in [data for _, data in events][: -1 if stream.is_cut else None]:
        expected, found = delta_twin.scan(data), delta_scan(data)
        if expected is not None and expected["error"] is not None:
            assert found is not None
            expected["error"], found["error"] = None, None
        assert found == expected


@every_stream
def test_no_output_is_missed_and_none_is_invented(stream: Stream) -> None:
    """Each event with output holds a token or more, and all but the role's event and the usage hold output."""
    wordy = [
        choice
        for top in objects(stream.body)
        for choice in top.get("choices", [])
        if "role" not in choice.get("delta", {})
    ]
    assert sum(
        c["is_output"] for s in scans(sse_parse(stream.pieces, end=False)) for c in s["choices"]
    ) == len(wordy)
    usage = said(stream.body).usage
    if usage is not None and not stream.is_cut:
        assert len(wordy) <= usage[1]


@every_stream
def test_nothing_that_vllm_says_is_unknown_or_taken_for_a_complaint(stream: Stream) -> None:
    for scan in scans(sse_parse(stream.pieces, end=False)):
        assert not scan["has_foreign_output"]
        assert not scan["has_complaint"]
        assert not any(choice["has_unknown"] for choice in scan["choices"])


def test_all_three_versions_are_here_with_each_kind_of_stream() -> None:
    assert Counter(stream.version for stream in STREAMS) == {"0.13.0": 31, "0.21.0": 32, "0.32.0": 33}
    assert sum(stream.path == "/v1/chat/completions" for stream in STREAMS) >= 30


def test_a_stream_of_256_tokens_gives_256_outputs_of_which_some_have_no_text() -> None:
    for version in VERSIONS:
        stream = BY_NAME[version, "completions_stream_max256"]
        choices = [choice for scan in scans(sse_parse(stream.pieces)) for choice in scan["choices"]]
        assert output_events(stream) == 256
        assert said(stream.body).usage == (21, 256)
        assert sum(choice["content"] == "" for choice in choices) == (9 if version == "0.13.0" else 5)
        assert choices[-1]["finish_reason"] == "length"


def test_events_with_several_tokens_are_counted_by_usage_not_by_events() -> None:
    stream = BY_NAME["0.32.0", "completions_stream_logprobs"]
    usage = said(stream.body).usage
    assert usage is not None
    assert usage[1] == 6
    assert output_events(stream) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_token_ids_add_up_to_the_usage(version: str) -> None:
    for name in ("completions_stream_return_token_ids", "chat_stream_return_token_ids"):
        counted = said_by_parsers(BY_NAME[version, name].pieces)
        assert counted.usage is not None
        assert counted.ids == counted.usage[1]


@pytest.mark.parametrize("version", ["0.21.0", "0.32.0"])
def test_an_error_in_a_stream_of_status_200_is_found(version: str) -> None:
    stream = BY_NAME[version, "error_token_out_of_vocab"]
    assert stream.response.startswith(b"HTTP/1.1 200 OK")
    error = said_by_parsers(stream.pieces).error
    assert error["code"] == 400
    assert "out of vocabulary" in error["message"]


@pytest.mark.parametrize("version", VERSIONS)
def test_two_choices_are_told_apart(version: str) -> None:
    for name in ("completions_stream_n2", "chat_stream_n2", "completions_stream_two_prompts"):
        found = said_by_parsers(BY_NAME[version, name].pieces)
        assert set(found.texts) == set(found.finish_reasons) == {0, 1}


def test_one_read_can_hold_many_events() -> None:
    stream = BY_NAME["0.32.0", "completions_stream_max256"]
    assert len(stream.pieces) < 100
    assert len(sse_parse(stream.pieces)) == 258


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_that_the_client_left_is_cut(version: str) -> None:
    stream = BY_NAME[version, "hang_up"]
    assert stream.is_cut
    assert said_by_parsers(stream.pieces).finish_reasons == {}


def test_the_chunk_framing_is_taken_off_however_much_has_come() -> None:
    framed = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert [dechunked(framed[:end]) for end in (0, 2, 4, 6, 8, 12, len(framed))] == [
        b"", b"", b"a", b"abc", b"abc", b"abcd", b"abcde",
    ]  # fmt: skip
