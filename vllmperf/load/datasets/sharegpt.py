"""sharegpt: the first question and answer of shuffled conversations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vllmperf.errors import UsageError
from vllmperf.load.datasets.files import read_json
from vllmperf.load.datasets.sample import Chance, Sample, Version, filled_up, is_fit
from vllmperf.load.datasets.tokens import Tokens

AT_ONCE = 256


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
        found += _usable(tokens, pairs[first : first + AT_ONCE], output_len, len(found), n)
    if as_messages:
        found = [replace(sample, prompt=_message(str(sample.prompt))) for sample in found]
    return found if version == "0.6" or not oversample else filled_up(found, n, chance, seed, version)


def _usable(
    tokens: Tokens, pairs: list[tuple[str, str]], output_len: int | None, before: int, n: int
) -> list[Sample]:
    questions = tokens.counts([question for question, _ in pairs])
    answers = (
        tokens.counts([answer for _, answer in pairs]) if output_len is None else [output_len] * len(pairs)
    )
    found: list[Sample] = []
    for (question, _), prompt_len, length in zip(pairs, questions, answers, strict=True):
        if before + len(found) < n and is_fit(prompt_len, length, is_fixed=output_len is not None):
            found.append(Sample(question, prompt_len, length, before + len(found)))
    return found


def _message(text: str) -> list[dict[str, Any]]:
    """In the original's order of keys, which is not that of its chat backend."""
    return [{"role": "user", "content": [{"text": text, "type": "text"}]}]


def _pairs(path: str) -> Iterator[tuple[str, str]]:
    for row in read_json(path):
        turns: Any = row.get("conversations") if isinstance(row, dict) else None
        if not isinstance(turns, list) or len(turns) < 2:
            continue
        try:
            yield turns[0]["value"], turns[1]["value"]
        except (KeyError, TypeError):
            raise UsageError(f'{path}: a conversation has a turn without "value"') from None
