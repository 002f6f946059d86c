"""prefix_repetition: a few drawn prefixes, each with many drawn endings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vllmperf.datasets.chance import Chance
from vllmperf.datasets.dataset import DataSet, Lengths, Option, Prompt, Sample, Spec, counted, repeated
from vllmperf.datasets.draws import Draws
from vllmperf.datasets.made_up import SAFE_IDS, Alphabet
from vllmperf.errors import SettingError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

SUFFIX_LEN = Option("prefix_repetition_suffix_len", int, 256, "tokens of each ending", least=1)
NUM_PREFIXES = Option("prefix_repetition_num_prefixes", int, 10, "different prefixes", least=1)
WITHOUT_END = 1000
"""Different prompts of a run that only time ends."""


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """As vllm bench serve makes them; without a tokenizer ids or words of the same lengths."""
    lengths, n = spec.lengths(DATASET.lengths), spec.num_prompts or WITHOUT_END
    sizes = {
        "prefix_len": lengths.prefix,
        "suffix_len": SUFFIX_LEN.of(spec),
        "prefixes": NUM_PREFIXES.of(spec),
    }
    if tokens is None:
        return repeated(spec, _made_up(spec, n, output_len=lengths.output or 1, **sizes))
    found = samples(tokens, Chance(spec.seed), n, seed=spec.seed, output_len=lengths.output or 1, **sizes)
    return counted(spec, tokens, found)


DATASET = DataSet(
    name="prefix_repetition",
    about="a few common prefixes, each with many endings",
    prompts=prompts,
    lengths=Lengths(None, 128, 256),
    own_lengths=("output", "prefix"),
    options=(SUFFIX_LEN, NUM_PREFIXES),
    is_made_up=True,
)


def _made_up(
    spec: Spec, n: int, *, prefix_len: int, suffix_len: int, prefixes: int, output_len: int
) -> list[Prompt]:
    _check(n, prefixes)
    alphabet, draw = Alphabet(spec.takes_ids), Draws(spec.seed)
    found = []
    for group in range(prefixes):
        begun = alphabet.begun(alphabet.members(draw.integers(0, len(SAFE_IDS), size=prefix_len).tolist()))
        offsets = draw.integers(0, len(SAFE_IDS), size=n // prefixes).tolist()
        for number, offset in enumerate(offsets, group * (n // prefixes)):
            text = alphabet.distinct(begun, number, offset, suffix_len)
            found.append(Prompt(text, output_len, prefix_len + suffix_len))
    random.Random(spec.seed).shuffle(found)
    return found


def _check(n: int, prefixes: int) -> None:
    if n < prefixes:
        raise SettingError(
            f"{{num_prompts}} {n} is below {{prefix_repetition_num_prefixes}} {prefixes}: give at least as many"
        )


def samples(
    tokens: Tokens,
    chance: Chance,
    n: int,
    *,
    seed: int,
    prefix_len: int,
    suffix_len: int,
    prefixes: int,
    output_len: int,
    shuffle: bool = True,
) -> list[Sample]:
    """n // prefixes samples of each prefix, shuffled; what remains of n is left out. They have no request ids.

    Prefix and ending fit by themselves; together they may encode to another length, and nobody looks.
    """
    from vllmperf.tokenizer.fitted import fit_all

    _check(n, prefixes)
    chance.seed(seed)

    def drawn(length: int) -> list[int]:
        def draw(size: int) -> list[int]:
            ids: list[int] = chance.numpy.randint(0, tokens.vocab_size, size=size).tolist()
            return ids

        return fit_all(tokens, [draw(length)], [length], draw)[0].ids

    sequences = []
    for _ in range(prefixes):
        prefix = drawn(prefix_len)
        sequences += [prefix + drawn(suffix_len) for _ in range(n // prefixes)]
    texts = tokens.decode(sequences)
    found = [Sample(text, len(ids), output_len) for text, ids in zip(texts, sequences, strict=True)]
    if shuffle:
        chance.python.shuffle(found)
    return found
