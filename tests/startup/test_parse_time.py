"""No text takes the parser much longer than an ordinary log of the same size, and none breaks it."""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from hostile_texts import marker_texts, random_text, texts
from parse_texts import START_0_7, START_0_11

from vllmperf.errors import UsageError
from vllmperf.starts.log.parse import parse
from vllmperf.starts.log.schema import to_json

SIZE = 30_000
TIMES = 20  # the worst of all is near 9, and a pattern that looks back is at 40 or more
TRIES = 4
CLOCK_S = 0.02
PARTS = 7  # of the markers, for as many processes


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Coverage's tracer adds time a line of Python and none a step of a pattern, so it hides what is compared here."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


def cpu_s(data: bytes) -> float:
    """CPU time of this thread, so that nothing beside it counts."""
    with untraced(), contextlib.suppress(UsageError):  # what is no text is refused
        began = time.thread_time()
        to_json(parse(io.BytesIO(data)))
    return time.thread_time() - began


def ordinary(size: int) -> bytes:
    """Starts as they are, over and over, none of them ready so that every line is read."""
    lines = [line for line in (START_0_11 + START_0_7).splitlines(keepends=True) if "INFO:" not in line]
    text = "".join(lines).encode()
    return (text * (size // len(text) + 1))[:size]


@functools.cache
def ordinary_s(size: int) -> float:
    return min(cpu_s(ordinary(size)) for _ in range(TRIES))


def slow(data: bytes, size: int = SIZE) -> bool:
    """Whether a text takes too long. A machine that is busy for a moment is asked again, with the ordinary log."""
    if cpu_s(data) <= TIMES * ordinary_s(size) + CLOCK_S:
        return False
    return all(cpu_s(data) > TIMES * cpu_s(ordinary(size)) + CLOCK_S for _ in range(TRIES))


@pytest.mark.parametrize(
    ("name", "write"), list(texts()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_no_text_takes_much_longer_than_an_ordinary_log(name: str, write: Callable[[int], bytes]) -> None:
    assert not slow(write(SIZE)), name


@pytest.mark.parametrize("part", range(PARTS))
def test_no_marker_takes_much_longer_than_an_ordinary_log(part: int) -> None:
    found = [
        name for name, write in islice(marker_texts(), part, None, PARTS) if slow(write(SIZE // 2), SIZE // 2)
    ]
    assert found == []


@pytest.mark.parametrize("seed", range(40))
def test_words_in_any_order_neither_break_the_parser_nor_hold_it_up(seed: int) -> None:
    assert not slow(random_text(seed, SIZE))


@pytest.mark.parametrize("count", [1, 2, 4, 32, 1000])
def test_more_prefixes_before_a_line_cost_no_more_than_their_length(count: int) -> None:
    line = "(Worker_TP0 pid=29271) " * count + "INFO 08-19 17:59:26 [a.py:4] x\n"
    assert not slow(line.encode() * (SIZE // len(line) + 1))
