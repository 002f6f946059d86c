"""multi_turn: made-up conversations behind a system prompt that all share."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vllmperf.datasets.dataset import Ask, Conversation, DataSet, Lengths, Option, Spec, first_turns
from vllmperf.datasets.made_up import WORDS
from vllmperf.datasets.synthetic import made_texts, texts

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

TURNS = Option("multi_turn_turns", int, 4, "turns of each conversation", least=1)
LENGTHS = Lengths(128, 128, 512)


def conversations(spec: Spec, tokens: Tokens | None) -> Iterator[Conversation]:
    """Without end: input tokens in what the user says in each turn, the prefix is the system prompt, the same in all."""
    lengths, draw = spec.lengths(LENGTHS), random.Random(spec.seed)
    wanted = itertools.repeat(lengths.input or 1)
    made = made_texts(tokens, wanted, draw)
    system = _system(tokens, lengths.prefix, random.Random(spec.seed)) if lengths.prefix else None
    while True:
        said = itertools.islice(made, TURNS.of(spec))
        asks = tuple(Ask(text, lengths.output, n) for text, n in said)
        yield Conversation(system, asks, lengths.prefix)


DATASET = DataSet(
    name="multi_turn",
    about="made-up conversations behind a common system prompt (the prefix): each turn follows the real answer",
    prompts=first_turns(conversations),
    lengths=LENGTHS,
    own_lengths=("input", "output", "prefix"),
    options=(TURNS,),
    is_made_up=True,
    conversations=conversations,
)


def _system(tokens: Tokens | None, length: int, draw: random.Random) -> str:
    one = iter([length])
    return next(texts(tokens, one, 0, draw) if tokens else _plain(one, draw))[0]


def _plain(lengths: Iterator[int], draw: random.Random) -> Iterator[tuple[str, int]]:
    for length in lengths:
        yield " ".join(draw.choices(WORDS, k=length)), length
