"""random: neighbouring token ids from a drawn place on, as texts of the asked length."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vllmperf.datasets.dataset import DataSet, Lengths, Prompt, Sample, Spec, prefix_of
from vllmperf.datasets.draws import Draws, Integers
from vllmperf.datasets.made_up import SAFE_IDS, Alphabet
from vllmperf.errors import SettingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vllmperf.tokenizer.circle import Run
    from vllmperf.tokenizer.fitted import Draw, Fit
    from vllmperf.tokenizer.tokens import Tokens

WORTH_A_CIRCLE = 2
"""The whole vocabulary is encoded when the prompts go so often around it."""
DRAWN_AT_ONCE = 1_000_000
"""Lengths are drawn for all prompts at once, as vLLM does, up to this many: then in pieces."""
UNPACKED = 1024
"""Python's own numbers would take eight times the memory of all that was drawn, for hours."""
DRAWN_WITHOUT_END = 1000
LENGTHS = Lengths(1024, 128, 0)
TEXTS_AT_ONCE = 64
"""Encoded together; fewer would cost more, more would keep a run waiting for its first request."""


# ---- bench ----


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """Without end. With a tokenizer: ids[(offset + number + k) mod n] behind the prefix, as vLLM makes them."""
    import numpy as np

    if tokens is not None:
        return _texts(spec, tokens, np.random.default_rng(spec.seed))
    # vLLM draws no ids without a tokenizer, so only lengths can be those that it draws
    is_spread = spec.random_range_ratio > 0
    return _ids(spec, np.random.default_rng(spec.seed) if is_spread else Draws(spec.seed))


def shaped(spec: Spec, share: float) -> Spec:
    """Prompts of the same length, of which a common prefix is about this share."""
    lengths = spec.lengths(LENGTHS)
    total = lengths.prefix + (lengths.input or 0)
    prefix = prefix_of(total, share)
    return spec._replace(prefix_len=prefix, input_len=total - prefix)


DATASET = DataSet(
    name="random",
    about="neighbours of a drawn token, every prompt another one",
    prompts=prompts,
    lengths=LENGTHS,
    own_lengths=("input", "output", "prefix"),
    is_made_up=True,
    shaped=shaped,
)


def _draws(spec: Spec, generator: Integers, around: int, n_ids: int) -> Iterator[tuple[int, int, int]]:
    """(input length, output length, offset) of each prompt, in vLLM's order of draws. around: tokens around a prompt."""
    lengths, ratio = spec.lengths(LENGTHS), spec.random_range_ratio
    n = min(spec.num_prompts or DRAWN_WITHOUT_END, DRAWN_AT_ONCE)
    while True:
        inputs = _spread(generator, max(1, (lengths.input or 0) - around), ratio, n, least=1).astype("int32")
        outputs = _spread(generator, lengths.output or 1, ratio, n, least=1).astype("int32")
        offsets = generator.integers(0, n_ids, size=n).astype("int32")
        for first in range(0, n, UNPACKED):
            some = slice(first, first + UNPACKED)
            yield from zip(inputs[some].tolist(), outputs[some].tolist(), offsets[some].tolist(), strict=True)


def _ids(spec: Spec, generator: Integers) -> Iterator[Prompt]:
    draws = _draws(spec, generator, 0, len(SAFE_IDS))
    first = next(draws)
    prefix_len = spec.lengths(LENGTHS).prefix
    alphabet = Alphabet(spec.takes_ids)
    begun = alphabet.begun(alphabet.members(generator.integers(0, len(SAFE_IDS), size=prefix_len).tolist()))
    for number, (length, answer, offset) in enumerate(itertools.chain([first], draws)):
        yield Prompt(alphabet.distinct(begun, number, offset, length), answer, prefix_len + length)


def _texts(spec: Spec, tokens: Tokens, generator: np.random.Generator) -> Iterator[Prompt]:
    from vllmperf.tokenizer.circle import Circle, Run
    from vllmperf.tokenizer.fitted import filled, fit_runs

    ring = tokens.plain_ids.tolist()
    more = filler(generator, tokens)
    draws = _draws(spec, generator, tokens.special_count, tokens.vocab_size)
    first = next(draws)
    lengths = spec.lengths(LENGTHS)
    prefix = [ring[place] for place in generator.integers(0, len(ring), size=lengths.prefix)]
    total = (spec.num_prompts or DRAWN_WITHOUT_END) * (lengths.input or 0)
    circle = Circle.of(tokens, ring) if total >= WORTH_A_CIRCLE * len(ring) else None
    # no more draws than are needed: those that fill a text up come from the same generator
    numbered = itertools.islice(enumerate(itertools.chain([first], draws)), spec.num_prompts)
    while block := list(itertools.islice(numbered, TEXTS_AT_ONCE)):
        runs = [Run(prefix, offset + number, length) for number, (length, _, offset) in block]
        wanted = [len(prefix) + run.length for run in runs]
        fits = fit_runs(tokens, circle, runs, ring, wanted, more)
        for fit, length, (_, (_, answer, _)) in zip(fits, wanted, block, strict=True):
            exact = filled(tokens, fit, length)
            yield Prompt.of(exact.text, answer, len(exact.ids) + tokens.special_count)


# ---- vllm bench serve (0.33) ----


def samples(
    tokens: Tokens,
    n: int,
    *,
    seed: int,
    input_len: int,
    output_len: int,
    prefix_len: int,
    input_ratio: float,
    output_ratio: float,
    batch: int = 1,
) -> list[Sample]:
    """n samples, texts that encode to the asked length, special tokens included; nearly so when ten tries fail.

    batch: so many of them together are one request (embeddings).
    """
    import numpy as np

    from vllmperf.tokenizer.circle import Run

    _check(tokens, input_len, prefix_len, input_ratio)
    draw = np.random.default_rng(seed)
    inputs = spread(draw, max(0, input_len - tokens.special_count), input_ratio, n)
    outputs = spread(draw, output_len, output_ratio, n, least=1)
    offsets = draw.integers(0, tokens.vocab_size, size=n).tolist()
    more = filler(draw, tokens)
    prefix = _prefix(tokens, draw, prefix_len, more)
    runs = [
        Run(prefix, place + number, length)
        for number, (place, length) in enumerate(zip(offsets, inputs, strict=True))
    ]
    # a prefix that could not be made exact is made up for by the rest
    fits = fit_usual(tokens, runs, [prefix_len + length for length in inputs], more)
    return _batched(fits, outputs, batch)


def filler(draw: np.random.Generator, tokens: Tokens) -> Draw:
    """Draws ids of the whole vocabulary, special ones too: so does the original."""
    return lambda n: draw.integers(0, tokens.vocab_size, size=n).tolist()


def fit_usual(tokens: Tokens, runs: Sequence[Run], wanted: Sequence[int], more: Draw) -> list[Fit]:
    """Runs of the circle of usual ids as texts of the wanted lengths."""
    from vllmperf.tokenizer.circle import Circle
    from vllmperf.tokenizer.fitted import fit_runs

    ring = tokens.usual_ids.tolist()
    is_worth_it = sum(run.length for run in runs) >= WORTH_A_CIRCLE * len(ring)
    circle = Circle.of(tokens, ring) if is_worth_it else None
    return fit_runs(tokens, circle, runs, ring, wanted, more)


def spread(draw: Integers, length: int, ratio: float, n: int, least: int = 0) -> Sequence[int]:
    """n lengths, uniform within length × (1 ± ratio), both ends included."""
    drawn: list[int] = _spread(draw, length, ratio, n, least).tolist()
    return drawn


def _spread(draw: Integers, length: int, ratio: float, n: int, least: int) -> NDArray[np.int64]:
    low, high = math.floor(length * (1 - ratio)), math.ceil(length * (1 + ratio))
    return draw.integers(max(low, least), max(high, least) + 1, size=n)


def _check(tokens: Tokens, input_len: int, prefix_len: int, ratio: float) -> None:
    own = max(0, input_len - tokens.special_count)
    if prefix_len + math.floor(own * (1 - ratio)) < 1:
        raise SettingError(
            f"{{random_input_len}} {input_len} is too short: the tokenizer puts {tokens.special_count} tokens "
            "around a prompt and nothing is left; give more"
        )


def _prefix(tokens: Tokens, draw: np.random.Generator, length: int, more: Draw) -> list[int]:
    from vllmperf.tokenizer.fitted import fit_all

    if length <= 0:
        return []
    ids = tokens.usual_ids[draw.integers(0, len(tokens.usual_ids), size=length)].tolist()
    return fit_all(tokens, [ids], [length], more)[0].ids


def _batched(fits: list[Fit], outputs: Sequence[int], batch: int) -> list[Sample]:
    if batch <= 1:
        return [
            Sample(fit.text, len(fit.ids), output, number)
            for number, (fit, output) in enumerate(zip(fits, outputs, strict=True))
        ]
    groups = [fits[first : first + batch] for first in range(0, len(fits), batch)]
    return [
        Sample([fit.text for fit in group], sum(len(fit.ids) for fit in group), 0, number)
        for number, group in enumerate(groups)
    ]
