"""prefix_repetition: a few drawn prefixes, each with many drawn endings."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vllmperf.datasets.chance import Chance
from vllmperf.datasets.dataset import (
    DataSet,
    Lengths,
    Option,
    Prompt,
    Sample,
    Spec,
    counted,
    prefix_of,
    repeated,
)
from vllmperf.datasets.draws import Draws
from vllmperf.datasets.made_up import SAFE_IDS, Alphabet
from vllmperf.errors import SettingError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

SUFFIX_LEN = Option("prefix_repetition_suffix_len", int, 256, "tokens of each ending", least=1)
NUM_PREFIXES = Option("prefix_repetition_num_prefixes", int, 10, "different prefixes", least=1)
ZIPF = Option(
    "prefix_repetition_zipf",
    float,
    0.0,
    "how unequal the prefixes are: the k-th has a share of k**-Z, drawn for each request; 0 = all have as many",
    least=0,
)
LENGTHS = Lengths(None, 128, 256)
WITHOUT_END = 1000
"""Different prompts of a run that only time ends."""


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """As vllm bench serve makes them; without a tokenizer ids or words of the same lengths."""
    lengths, n = spec.lengths(LENGTHS), spec.num_prompts or WITHOUT_END
    sizes = {
        "prefix_len": lengths.prefix,
        "suffix_len": SUFFIX_LEN.of(spec),
        "groups": groups(n, NUM_PREFIXES.of(spec), ZIPF.of(spec), spec.seed),
    }
    if tokens is None:
        return repeated(spec, _made_up(spec, output_len=lengths.output or 1, **sizes))
    found = samples(tokens, Chance(spec.seed), seed=spec.seed, output_len=lengths.output or 1, **sizes)
    return counted(spec, tokens, found)


def shaped(spec: Spec, share: float) -> Spec:
    """Prompts as long as prefix and ending together, of which the prefix is about this share."""
    total = spec.lengths(LENGTHS).prefix + SUFFIX_LEN.of(spec)
    prefix = prefix_of(total, share)
    options = {**spec.options, SUFFIX_LEN.name: total - prefix}
    return spec._replace(prefix_len=prefix, options=options)


DATASET = DataSet(
    name="prefix_repetition",
    about="a few common prefixes, each with many endings",
    prompts=prompts,
    lengths=LENGTHS,
    own_lengths=("output", "prefix"),
    options=(SUFFIX_LEN, NUM_PREFIXES, ZIPF),
    is_made_up=True,
    shaped=shaped,
)


def groups(n: int, prefixes: int, zipf: float = 0.0, seed: int = 0) -> list[int]:
    """How many of n requests each prefix has: n // prefixes (what remains of n is left out, as in vLLM), or with zipf > 0 all
    of them, drawn by Zipf's law."""
    if n < prefixes:
        raise SettingError(
            f"{{num_prompts}} {n} is below {{prefix_repetition_num_prefixes}} {prefixes}: give at least as many"
        )
    if zipf == 0:
        return [n // prefixes] * prefixes
    weights = [rank**-zipf for rank in range(1, prefixes + 1)]
    drawn = Counter(random.Random(seed).choices(range(prefixes), weights, k=n))
    return [drawn[group] for group in range(prefixes)]


def _made_up(
    spec: Spec, *, prefix_len: int, suffix_len: int, groups: Sequence[int], output_len: int
) -> list[Prompt]:
    alphabet, draw = Alphabet(spec.takes_ids), Draws(spec.seed)
    found: list[Prompt] = []
    for size in groups:
        begun = alphabet.begun(alphabet.members(draw.integers(0, len(SAFE_IDS), size=prefix_len).tolist()))
        offsets = draw.integers(0, len(SAFE_IDS), size=size).tolist()
        for number, offset in enumerate(offsets, len(found)):
            text = alphabet.distinct(begun, number, offset, suffix_len)
            found.append(Prompt(text, output_len, prefix_len + suffix_len))
    random.Random(spec.seed).shuffle(found)
    return found


def samples(
    tokens: Tokens,
    chance: Chance,
    *,
    seed: int,
    prefix_len: int,
    suffix_len: int,
    groups: Sequence[int],
    output_len: int,
    shuffle: bool = True,
) -> list[Sample]:
    """So many samples of each prefix as `groups` says, shuffled. They have no request ids.

    Prefix and ending fit by themselves; together they may encode to another length, and nobody looks.
    """
    from vllmperf.tokenizer.fitted import fit_all

    chance.seed(seed)

    def drawn(length: int) -> list[int]:
        def draw(size: int) -> list[int]:
            ids: list[int] = chance.numpy.randint(0, tokens.vocab_size, size=size).tolist()
            return ids

        return fit_all(tokens, [draw(length)], [length], draw)[0].ids

    sequences = []
    for size in groups:
        prefix = drawn(prefix_len)
        sequences += [prefix + drawn(suffix_len) for _ in range(size)]
    texts = tokens.decode(sequences)
    found = [Sample(text, len(ids), output_len) for text, ids in zip(texts, sequences, strict=True)]
    if shuffle:
        chance.python.shuffle(found)
    return found
