"""Texts of neighbouring token ids, put together from pieces that were decoded and encoded once.

The prompts of `random` are runs of one circle of ids. Where a token begins with a blank and a letter behind something
that is no blank, every splitter of the GPT family begins a word, so the circle falls into segments whose texts and
encodings do not depend on what stands beside them. A prompt is then two ends of its own and a slice between them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from vllmperf.tokenizer.tail import KEPT_TOKENS, KEPT_WORDS
from vllmperf.tokenizer.tokens import Tokens

Cut = Callable[[int], tuple[int, int] | None]
"""tokens that stay → where a text can be split: (ids, characters) before the place; None: nowhere"""


@dataclass(frozen=True, slots=True)
class Start:
    """A text, what it encodes to, and where it can be split. is_sure: the two parts are known to be independent."""

    text: str
    ids: list[int]
    cut: Cut
    is_sure: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """`length` ids of the circle from number `start` on, behind a prefix of other ids."""

    prefix: list[int]
    start: int
    length: int


LONGEST_SEGMENT = 1000
"""Ids. Longer ones (scripts without blanks) are one word of that length, which no prompt holds whole: they are holes."""
CHECKED_TOGETHER = 100
"""Segments whose text is encoded as one, to see that they are as independent as they should be."""
CHECKED_EVERY = 8
"""So much of the vocabulary is looked at: a splitter that works otherwise does so everywhere."""


class Circle:
    """All ids of a circle in segments, laid out twice so that every run up to once around is one slice."""

    def __init__(self, ring: list[int], starts: list[int], texts: list[str], ids: list[list[int]]) -> None:
        """texts, ids: of each segment, empty for holes."""
        n = len(ring)
        self._ring, self._n = ring * 2, n
        self._starts = [*starts, *(place + n for place in starts)]
        self._holes_at = [0, *accumulate([not segment for segment in ids] * 2)]
        self._text = "".join(texts) * 2
        self._ids = [number for segment in ids for number in segment] * 2
        self._text_at = [0, *accumulate([len(text) for text in texts] * 2)]
        self._ids_at = [0, *accumulate([len(segment) for segment in ids] * 2)]

    @classmethod
    def of(cls, tokens: Tokens, ring: list[int]) -> Circle | None:
        """The circle of these ids; None when the tokenizer does not split as described above."""
        starts = _starts(tokens.decode([[number] for number in ring])) if tokens.is_local else []
        if len(starts) < 2:
            return None
        bounds = [*starts, starts[0] + len(ring)]
        twice = ring * 2
        segments = [twice[first:last] for first, last in pairwise(bounds)]
        texts = tokens.decode([segment if len(segment) <= LONGEST_SEGMENT else [] for segment in segments])
        ids = tokens.encode(texts)
        return cls(ring, starts, texts, ids) if _are_independent(tokens, texts, ids) else None

    def begin(self, tokens: Tokens, runs: Sequence[Run]) -> list[Start | None]:
        """Each run as a text with its encoding."""
        spans = [self._span(run) for run in runs]
        ends = tokens.decode(self._ends(runs, spans))
        ids = tokens.encode(ends)
        return [
            None if span is None else self._start(span, ends[2 * i : 2 * i + 2], ids[2 * i : 2 * i + 2])
            for i, span in enumerate(spans)
        ]

    def _span(self, run: Run) -> tuple[int, int] | None:
        """Numbers of the first and the last boundary within a run."""
        start = run.start % self._n
        if run.length > self._n:
            return None
        first = bisect_left(self._starts, start)
        last = bisect_right(self._starts, start + run.length) - 1
        is_whole = last > first and self._holes_at[first] == self._holes_at[last]
        return (first, last) if is_whole else None

    def _ends(self, runs: Sequence[Run], spans: Sequence[tuple[int, int] | None]) -> list[list[int]]:
        """Ids before the first and behind the last boundary of each run."""
        found: list[list[int]] = []
        for run, span in zip(runs, spans, strict=True):
            start = run.start % self._n
            if span is None:
                found += [[], []]
                continue
            found.append(run.prefix + self._ring[start : self._starts[span[0]]])
            found.append(self._ring[self._starts[span[1]] : start + run.length])
        return found

    def _between(self, first: int, last: int) -> str:
        return self._text[self._text_at[first] : self._text_at[last]]

    def _start(self, span: tuple[int, int], texts: list[str], ids: list[list[int]]) -> Start:
        first, last = span
        text = texts[0] + self._between(first, last) + texts[1]
        middle = self._ids[self._ids_at[first] : self._ids_at[last]]
        before, before_text = len(ids[0]) - self._ids_at[first], len(texts[0]) - self._text_at[first]

        def cut(stay: int) -> tuple[int, int] | None:
            whole = bisect_right(self._ids_at, stay - before, first, last + 1) - 1
            place = bisect_right(self._ids_at, stay - before - KEPT_TOKENS, first, last + 1) - 1
            place = min(place, whole - KEPT_WORDS)
            if place <= first:
                return None
            return before + self._ids_at[place], before_text + self._text_at[place]

        return Start(text, [*ids[0], *middle, *ids[1]], cut, is_sure=True)


def _starts(texts: Sequence[str]) -> list[int]:
    """Numbers of the tokens that surely begin a word, whatever stands before the one ahead."""
    return [
        i
        for i, text in enumerate(texts)
        if text[:1] == " " and text[1:2].isalpha() and texts[i - 1] and not texts[i - 1][-1].isspace()
    ]


def _are_independent(tokens: Tokens, texts: Sequence[str], ids: Sequence[list[int]]) -> bool:
    """Whether segments side by side encode to what they encode to alone."""
    groups = range(0, len(texts), CHECKED_TOGETHER * CHECKED_EVERY)
    joined: list[str] = []
    expected: list[list[int]] = []
    for first in groups:
        for stretch in _stretches(texts[first : first + CHECKED_TOGETHER]):
            places = range(first + stretch.start, first + stretch.stop)
            joined.append("".join(texts[i] for i in places))
            expected.append([number for i in places for number in ids[i]])
    return tokens.encode(joined) == expected


def _stretches(texts: Sequence[str]) -> Iterator[range]:
    """Places between the holes."""
    first = 0
    for i, text in enumerate([*texts, ""]):
        if not text:
            if i > first:
                yield range(first, i)
            first = i + 1
