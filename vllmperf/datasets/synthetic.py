"""synthetic: lengths drawn around a mean, as guidellm draws them, with made-up prompts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from vllmperf.datasets.dataset import DataSet, Lengths, Option, Prompt, Spec
from vllmperf.datasets.made_up import SAFE_IDS, WORDS, Alphabet
from vllmperf.datasets.random_text import TEXTS_AT_ONCE, filler

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

SPREAD = 5
"""Without bounds lengths lie within so many standard deviations."""
INPUT_STDEV = Option("synthetic_input_stdev", int, None, "standard deviation of the prompt's tokens", least=0)
INPUT_MIN = Option("synthetic_input_min", int, None, "shortest prompt", least=1)
INPUT_MAX = Option("synthetic_input_max", int, None, "longest prompt", least=1)
OUTPUT_STDEV = Option(
    "synthetic_output_stdev", int, None, "standard deviation of the answer's tokens", least=0
)
OUTPUT_MIN = Option("synthetic_output_min", int, None, "shortest answer", least=1)
OUTPUT_MAX = Option("synthetic_output_max", int, None, "longest answer", least=1)


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """Without end. The lengths of a seed are those of guidellm."""
    usual = spec.lengths(DATASET.lengths)
    inputs = lengths(
        usual.input or 1, INPUT_STDEV.of(spec), INPUT_MIN.of(spec), INPUT_MAX.of(spec), spec.seed
    )
    outputs = lengths(
        usual.output or 1, OUTPUT_STDEV.of(spec), OUTPUT_MIN.of(spec), OUTPUT_MAX.of(spec), spec.seed + 1
    )
    draw = random.Random(spec.seed + 2)  # as guidellm: unlike those of the lengths
    if tokens is not None:
        made = texts(tokens, inputs, usual.prefix, draw)
        return (
            Prompt.of(text, answer, n + tokens.special_count)
            for (text, n), answer in zip(made, outputs, strict=False)
        )
    return _made_up(Alphabet(spec.takes_ids), zip(inputs, outputs, strict=False), usual.prefix, draw)


DATASET = DataSet(
    name="synthetic",
    about="made-up prompts whose lengths are normally distributed, or evenly between bounds",
    prompts=prompts,
    lengths=Lengths(1024, 128, 0),
    own_lengths=("input", "output", "prefix"),
    options=(INPUT_STDEV, INPUT_MIN, INPUT_MAX, OUTPUT_STDEV, OUTPUT_MIN, OUTPUT_MAX),
    is_made_up=True,
)


def lengths(mean: int, stdev: int | None, low: int | None, high: int | None, seed: int) -> Iterator[int]:
    """Lengths without end, the same for the same seed as in guidellm 0.3. Without a deviation, evenly between bounds."""
    low = max(1, mean - SPREAD * (stdev or 0)) if low is None else low
    high = mean + SPREAD * (stdev or 0) if high is None else high
    draw = random.Random(seed)
    while True:
        if low == high:
            yield low
        elif not stdev:
            yield draw.randint(min(low, high), max(low, high))
        else:
            yield round(max(low, min(high, draw.gauss(mean, stdev))))


def texts(
    tokens: Tokens, inputs: Iterable[int], prefix_len: int, draw: random.Random
) -> Iterator[tuple[str, int]]:
    """(text of drawn ids behind a common prefix, its tokens)."""
    import numpy as np

    from vllmperf.tokenizer.fitted import filled, fit_all

    chance = np.random.default_rng(draw.getrandbits(64))
    more, ids = filler(chance, tokens), tokens.plain_ids
    prefix = chance.choice(ids, size=prefix_len).tolist()
    source = iter(inputs)
    while block := list(itertools.islice(source, TEXTS_AT_ONCE)):
        sequences = [prefix + chance.choice(ids, size=length).tolist() for length in block]
        wanted = [len(sequence) for sequence in sequences]
        for fit, length in zip(fit_all(tokens, sequences, wanted, more), wanted, strict=True):
            yield filled(tokens, fit, length).text, length


def made_texts(
    tokens: Tokens | None, lengths: Iterable[int], draw: random.Random, numbers: Iterator[int] | None = None
) -> Iterator[tuple[str, int]]:
    """(text, its tokens), no two beginning alike: of drawn ids, or without a tokenizer common words.

    numbers: those of the texts, where other calls make some too.
    """
    if tokens is not None:
        yield from texts(tokens, lengths, 0, draw)
        return
    circle = Alphabet(takes_ids=False).circle
    for length, number in zip(lengths, numbers or itertools.count(), strict=False):
        yield circle.distinct(number, draw.randrange(len(WORDS)), length), length


def _made_up(
    alphabet: Alphabet, asked: Iterable[tuple[int, int]], prefix_len: int, draw: random.Random
) -> Iterator[Prompt]:
    begun = alphabet.begun(alphabet.members([draw.randrange(len(SAFE_IDS)) for _ in range(prefix_len)]))
    for number, (length, answer) in enumerate(asked):
        text = alphabet.distinct(begun, number, draw.randrange(len(SAFE_IDS)), length)
        yield Prompt(text, answer, prefix_len + length)
