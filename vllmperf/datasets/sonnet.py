"""sonnet: lines of a poem, the first ones as a common prefix, the rest drawn, up to the asked length."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vllmperf.datasets.dataset import Counter, DataSet, Estimate, Lengths, Prompt, Spec
from vllmperf.datasets.rows import lines
from vllmperf.errors import SettingError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

BEGIN = "Pick as many lines as you can from these poem lines:\n"
TRIES = 1000
"""A prompt that never gets short enough is a mistake in the arguments."""


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """Without end. Without a tokenizer lengths are estimates, and no prompt is too long."""
    poem, counter = lines(spec.path), tokens or Estimate()
    lengths = spec.lengths(DATASET.lengths)
    average = sum(counter.counts(poem, special=False)) / len(poem)
    begin = counter.count(BEGIN, special=False)
    total = max(1, round(((lengths.input or 0) - begin) / average))
    common = min(max(0, round((lengths.prefix - begin) / average)), total, len(poem))
    chance = random.Random(spec.seed)
    while True:
        text, length = _drawn(poem, common, total - common, chance, counter, lengths.input or 0)
        yield Prompt.of(text, lengths.output, length)


DATASET = DataSet(
    name="sonnet",
    about="lines of a poem behind a common prefix",
    path="FILE (text)",
    prompts=prompts,
    lengths=Lengths(550, 150, 200),
    own_lengths=("input", "output", "prefix"),
)


def _drawn(
    poem: list[str], common: int, drawn: int, chance: random.Random, counter: Counter, longest: int
) -> tuple[str, int]:
    """A prompt within the asked length, where lengths are known, and its length."""
    for _ in range(TRIES):
        text = BEGIN + "".join(poem[:common] + chance.choices(poem, k=drawn))
        length = counter.count(text)
        if isinstance(counter, Estimate) or length <= longest:
            return text, length
    raise SettingError(f"{{sonnet_input_len}} {longest} is too short for the lines of the poem: give more")
