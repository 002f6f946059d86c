"""The event stream parser against its twin and the rules of the HTML standard, however the input is cut."""

import random
from itertools import pairwise

import pytest
from twins import sse as twin

from vllmperf._engine import sse_parse

STREAMS = [
    b"",
    b"data: a\n\n",
    b"data: one\ndata: two\n\ndata:three\n\n",
    b": ping\n\ndata: a\n\n: ping\ndata: b\n\n",
    b"data\n\ndata\ndata\n\ndata:",
    b"data:test\n\ndata: test\n\ndata:  test\n\n",
    b"event: error\ndata: {}\n\ndata: {}\n\n",
    b"event: lost\n\ndata: a\n\n",
    b"event: a\nevent: b\ndata: 1\n\nevent\ndata: 2\n\n",
    b"id: 1\0\nid: 2\nretry: 10\nretry: x\ndata: a\nfield: x\nfield\n\n",
    b"data: a\r\n\r\ndata: b\r\rdata: c\n\n",
    b"data: a\r\ndata: b\r\n\r\n",
    b"data: a\n\r\ndata: b\r\n\ndata: c\n\r",
    b"\xef\xbb\xbfdata: a\n\n",
    b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n",
    b"\xef\xbbdata: a\n\ndata: b\n\n",
    b"data: a\n\n\xef\xbb\xbfdata: b\n\n",
    b"data: \xe2\x82\xac \xff\n\n",
    b"data: a\0b\n\n",
    b" data: a\n\ndata : b\n\nDATA: c\n\n",
    b"data: a: b\n\n:data: c\n\n::\n\n",
    b"data: last\n",
    b"data: last",
    b"data: last\r",
    b"data: a\n\nevent: x",
    b"\n\n\n\r\r\r\n\r\n",
    b'data: {"choices":[{"text":" a"}]}\n\ndata: [DONE]\n\n',
    b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n',
    b'data: {"a":1}\rdata: {"b":\rdata: 2}\r\rdata: [DONE]',
    b'event: x\ndata: {"a":1}\nevent: y\ndata: {"b":2}\nevent: z\n\ndata: c\n\n',
    b'data: {"a":1}\nevent: y\n\ndata: {"b":2}\n\n',
    b'data: {"a":1}\ndata:\n\ndata: {"b"\ndata: :1}\ndata: {"c":2}\n\n',
    b'data: {"a":1}\n\nerror: {"code":500}\n\nevent: x\ndata: {"b":1}\nerror: no\nerror\n\n',
    b'data: {"a":1} \n: ping\nid: 5\ndata:  {"b":{}}\ndata: {"c":1}x\ndata: {"d":1}\n\n',
]


def pieces(stream: bytes, *cuts: int) -> list[bytes]:
    bounds = [0, *sorted(cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(bounds)]


@pytest.mark.parametrize("stream", STREAMS)
def test_events_do_not_depend_on_where_the_input_is_cut(stream: bytes) -> None:
    events = twin.parse(stream)
    assert sse_parse([stream]) == events
    assert sse_parse([bytes([byte]) for byte in stream]) == events
    for cut in range(len(stream) + 1):
        assert sse_parse(pieces(stream, cut)) == events, cut


@pytest.mark.parametrize("seed", range(20))
def test_random_lines_are_read_as_the_twin_reads_them(seed: int) -> None:
    rng = random.Random(seed)
    parts = [
        b"data",
        b"event",
        b"id",
        b"retry",
        b":",
        b": ",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"x",
        b"\0",
        twin.BOM,
        b'data: {"a":[]}',
        b'data: {"b":1}\n',
        b"data: [DONE]\n",
        b"event: e\n",
    ]
    for _ in range(400):
        stream = b"".join(rng.choices(parts, k=rng.randrange(30)))
        if rng.random() < 0.2:
            stream = twin.BOM[: rng.randrange(4)] + stream
        cuts = [rng.randrange(len(stream) + 1) for _ in range(rng.randrange(6))]
        assert sse_parse(pieces(stream, *cuts)) == twin.parse(stream), (stream, cuts)


def test_the_example_of_the_standard_gives_its_three_events() -> None:
    stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"
    assert sse_parse([stream]) == [(b"", b"first event"), (b"", b"second event"), (b"", b" third event")]
    assert len(sse_parse([stream], end=False)) == 2


def test_events_with_one_line_feed_between_them_are_events_of_their_own() -> None:
    events = [(b"", b'{"n":%d}' % n) for n in range(5)] + [(b"", b"[DONE]")]
    stream = b"".join(b"data: " + data + b"\n" for _, data in events)
    assert sse_parse([stream]) == events
    assert sse_parse([stream], end=False) == events[:-1]


def test_one_object_over_several_data_lines_stays_one_event() -> None:
    assert sse_parse([b'data: {"a":\ndata: {"b":1}\ndata: }\n\n']) == [(b"", b'{"a":\n{"b":1}\n}')]


def test_a_stream_that_goes_on_keeps_its_last_event_back() -> None:
    assert sse_parse([b"data: a\n"], end=False) == []
    assert sse_parse([b"data: a\n", b"\n"], end=False) == [(b"", b"a")]


def test_an_event_of_a_megabyte_in_many_pieces_is_one_event() -> None:
    data = bytes(range(32, 127)) * 11_000
    stream = b"data: " + data + b"\r\n\r\n"
    cut = [stream[i : i + 1461] for i in range(0, len(stream), 1461)]
    assert sse_parse(cut) == [(b"", data)]


def test_a_line_over_the_limit_is_an_error_wherever_it_is_cut() -> None:
    stream = b"data: " + b"x" * 95 + b"\n\n"
    for cut in range(len(stream) + 1):
        with pytest.raises(ValueError, match="longer than max_bytes"):
            sse_parse(pieces(stream, cut), max_bytes=100)
    assert sse_parse([stream], max_bytes=101) == [(b"", b"x" * 95)]


def test_a_line_without_end_is_an_error_before_it_fills_the_memory() -> None:
    with pytest.raises(ValueError, match="longer than max_bytes"):
        sse_parse([b"x" * 1000] * 1000, max_bytes=10_000)


def test_an_event_of_many_short_lines_over_the_limit_is_an_error() -> None:
    with pytest.raises(ValueError, match="longer than max_bytes"):
        sse_parse([b"data: 123456789\n" * 20], max_bytes=100)


def test_a_piece_that_is_no_bytes_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        sse_parse(["data: a\n\n"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        sse_parse(5)  # type: ignore[arg-type]
