"""The line scanner finds what a plain search finds."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllmperf._engine import LineScanner
from vllmperf.starts.log.scan import NEEDLES, Candidates, last_line

pieces = st.sampled_from([b"a", b"b", b"ab", b"\n", b"\r", b"\0", b"took ", "█".encode()])
texts = st.lists(pieces, max_size=60).map(b"".join)
needles = st.lists(st.sampled_from([b"a", b"ab", b"bab", b"aab", b"took", "█a".encode(), b"\0"]), min_size=1)


def twin(needles: list[bytes], block: bytes) -> tuple[list[tuple[int, int, int]], int]:
    hits, at, lines = [], 0, block.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for number, line in enumerate(lines):
        if any(needle in line for needle in needles):
            hits.append((number, at, at + len(line)))
        at += len(line) + 1
    return hits, len(lines)


@given(needles, texts)
def test_the_scanner_finds_what_its_slow_twin_finds(words: list[bytes], block: bytes) -> None:
    assert LineScanner(words).find(block) == twin(words, block)


def test_more_hits_than_one_call_holds_are_all_given() -> None:
    block = b"x\n" * 1000
    assert LineScanner([b"x"]).find(block) == twin([b"x"], block)


def test_a_scanner_keeps_its_needles_when_it_is_initialized_again_under_a_search() -> None:
    code = """if True:
        import threading
        from vllmperf._engine import LineScanner
        scanner, block = LineScanner([b"needle%d" % i for i in range(400)]), (b"x" * 200 + b"\\n") * 200_000
        found = []
        thread = threading.Thread(target=lambda: found.extend(scanner.find(block)[1] for _ in range(8)))
        thread.start()
        while thread.is_alive(): scanner.__init__([b"x"])
        print(found, scanner.find(b"needle7"))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == f"{[200_000] * 8} ([(0, 0, 7)], 1)", done.stderr


@pytest.mark.parametrize("bad", [[], [b""], [b"a\nb"], [b"x" * 70_000]])
def test_needles_that_cannot_be_searched_for_are_refused(bad: list[bytes]) -> None:
    with pytest.raises(ValueError, match="needles"):
        LineScanner(bad)


def test_needles_must_be_bytes() -> None:
    with pytest.raises(TypeError):
        LineScanner(["a"])  # type: ignore[list-item]


def test_candidates_are_lines_with_a_needle() -> None:
    candidates = Candidates()
    block = b"traffic\n" + NEEDLES[0] + b" 0.11.0\ntraffic\n"
    assert [block[start:end] for _, start, end in candidates.of(block)] == [NEEDLES[0] + b" 0.11.0"]
    assert candidates.lines == 3


@pytest.mark.parametrize(("block", "last"), [(b"a\nb\n", b"b"), (b"a\nb", b"b"), (b"a", b"a"), (b"\n", b"")])
def test_the_last_line_of_a_block(block: bytes, last: bytes) -> None:
    assert last_line(block) == last
