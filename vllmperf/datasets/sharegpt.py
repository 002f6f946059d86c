"""sharegpt: the first question and answer of shuffled conversations."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vllmperf.datasets.dataset import Counter, DataSet, Estimate, Prompt, Sample, Spec, of_samples
from vllmperf.datasets.rows import Row, rows

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

AT_ONCE = 256
SHORTEST, LONGEST_PROMPT, LONGEST_TOTAL = 4, 1024, 2048
"""vLLM's bounds, in tokens."""


class Pair(NamedTuple):
    """The first two turns of a conversation; None for one without a text."""

    row: Row
    question: str | None
    answer: str | None

    def check(self) -> None:
        """Raise UsageError when a text is missing."""
        if self.question is None or self.answer is None:
            raise self.row.bad('one of the first two turns has no text "value"')


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """As vllm bench serve takes them. Without a tokenizer 4 bytes of a text are taken for a token."""
    found = pairs(spec.path)
    for pair in found:
        pair.check()
    random.Random(spec.seed).shuffle(found)
    return of_samples(spec, usable(tokens or Estimate(), found, spec.output_len))


DATASET = DataSet(
    name="sharegpt",
    about="first questions of conversations, with the length of their answers",
    path="FILE (JSON)",
    prompts=prompts,
    own_lengths=("output",),
)


def pairs(path: str) -> list[Pair]:
    """All conversations of two turns or more. Roles are ignored."""
    return [pair for row in rows(path) if (pair := _pair(row)) is not None]


def usable(tokens: Counter, found: Sequence[Pair], output_len: int | None) -> Iterator[Sample]:
    """Those within vLLM's bounds, in order. output_len: asked for, in the place of the answer's.

    UsageError for a turn without text: only when it is its turn, as a file may be fine up to there.
    """
    number = 0
    for first in range(0, len(found), AT_ONCE):
        block = found[first : first + AT_ONCE]
        for pair, prompt_len, length in zip(block, *_lengths(tokens, block, output_len), strict=True):
            pair.check()
            if is_fit(prompt_len, length, is_fixed=output_len is not None):
                yield Sample(pair.question or "", prompt_len, length, number)
                number += 1


def is_fit(prompt_len: int, output_len: int, *, is_fixed: bool) -> bool:
    """vLLM's bounds for conversations. is_fixed: the output length was asked for and may be short."""
    is_short = prompt_len < SHORTEST or (not is_fixed and output_len < SHORTEST)
    return not is_short and prompt_len <= LONGEST_PROMPT and prompt_len + output_len <= LONGEST_TOTAL


def _lengths(tokens: Counter, block: Sequence[Pair], output_len: int | None) -> tuple[list[int], list[int]]:
    questions = tokens.counts([pair.question or "" for pair in block])
    if output_len is not None:
        return questions, [output_len] * len(block)
    return questions, tokens.counts([pair.answer or "" for pair in block])


def _pair(row: Row) -> Pair | None:
    fields: Any = row.value if isinstance(row.value, dict) else {}
    turns = fields.get("conversations", fields.get("conversation"))
    if not isinstance(turns, list) or len(turns) < 2:
        return None
    return Pair(row, _text(turns[0]), _text(turns[1]))


def _text(turn: Any) -> str | None:
    value = turn.get("value") if isinstance(turn, dict) else None
    return value if isinstance(value, str) else None
