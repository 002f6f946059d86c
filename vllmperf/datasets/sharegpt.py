"""sharegpt: the first question and answer of shuffled conversations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from vllmperf.datasets.files import read_json
from vllmperf.datasets.sample import Chance, Sample, Version, filled_up, is_fit
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Pair:
    """The first two turns of a conversation; None for one without a text."""

    row: int
    question: str | None
    answer: str | None


def samples(
    tokens: Tokens,
    chance: Chance,
    version: Version,
    n: int,
    *,
    path: str,
    seed: int,
    output_len: int | None,
    shuffle: bool = True,
    oversample: bool = True,
    as_messages: bool = False,
) -> list[Sample]:
    """n samples within vLLM's bounds; 0.6 gives fewer when the file runs out, later ones draw some again.

    as_messages: each prompt as a list of one chat message.
    Roles are ignored: the first two turns are question and answer. 0.6 shuffles pairs with the generator as it
    stands, later versions seed it anew and shuffle whole rows: that is the same order for the same seed.
    """
    pairs = list(_pairs(path))
    if version != "0.6":
        chance.python.seed(seed)
    if shuffle:
        chance.python.shuffle(pairs)
    found: list[Sample] = []
    for first in range(0, len(pairs), AT_ONCE):
        if len(found) >= n:
            break
        found += _usable(tokens, path, pairs[first : first + AT_ONCE], output_len, len(found), n)
    if as_messages:
        found = [replace(sample, prompt=_message(str(sample.prompt))) for sample in found]
    return found if version == "0.6" or not oversample else filled_up(found, n, chance, seed, version)


def _usable(
    tokens: Tokens, path: str, pairs: list[Pair], output_len: int | None, before: int, n: int
) -> list[Sample]:
    """UsageError for a turn without text: only when it is its turn, as a file may be fine up to there."""
    questions = tokens.counts([pair.question or "" for pair in pairs])
    answers = (
        tokens.counts([pair.answer or "" for pair in pairs])
        if output_len is None
        else [output_len] * len(pairs)
    )
    found: list[Sample] = []
    for pair, prompt_len, length in zip(pairs, questions, answers, strict=True):
        if before + len(found) >= n:
            break
        if pair.question is None or pair.answer is None:
            raise UsageError(f'{path} row {pair.row}: one of the first two turns has no text "value"')
        if is_fit(prompt_len, length, is_fixed=output_len is not None):
            found.append(Sample(pair.question, prompt_len, length, before + len(found)))
    return found


def _message(text: str) -> list[dict[str, Any]]:
    """In the original's order of keys, which is not that of its chat backend."""
    return [{"role": "user", "content": [{"text": text, "type": "text"}]}]


def _pairs(path: str) -> Iterator[Pair]:
    for number, row in enumerate(read_json(path), 1):
        turns: Any = row.get("conversations") if isinstance(row, dict) else None
        if isinstance(turns, list) and len(turns) >= 2:
            yield Pair(number, _text(turns[0]), _text(turns[1]))


def _text(turn: Any) -> str | None:
    value = turn.get("value") if isinstance(turn, dict) else None
    return value if isinstance(value, str) else None
