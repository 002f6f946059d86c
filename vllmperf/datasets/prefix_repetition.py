"""prefix_repetition: a few drawn prefixes, each with many drawn endings (0.33)."""

from __future__ import annotations

from vllmperf.datasets.sample import Chance, Sample
from vllmperf.errors import UsageError
from vllmperf.tokenizer.fitted import fit_all
from vllmperf.tokenizer.tokens import Tokens


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
    each = n // prefixes
    if each == 0:
        raise UsageError(
            f"--num-prompts {n} is below --prefix-repetition-num-prefixes {prefixes}: give at least as many"
        )
    chance.seed(seed)

    def drawn(length: int) -> list[int]:
        def draw(size: int) -> list[int]:
            ids: list[int] = chance.numpy.randint(0, tokens.vocab_size, size=size).tolist()
            return ids

        return fit_all(tokens, [draw(length)], [length], draw)[0].ids

    sequences = []
    for _ in range(prefixes):
        prefix = drawn(prefix_len)
        sequences += [prefix + drawn(suffix_len) for _ in range(each)]
    texts = tokens.decode(sequences)
    found = [Sample(text, len(ids), output_len) for text, ids in zip(texts, sequences, strict=True)]
    if shuffle:
        chance.python.shuffle(found)
    return found
