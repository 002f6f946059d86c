"""random: neighbouring token ids from a drawn place on, as texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vllmperf.datasets.sample import Chance, Sample, Version, spread
from vllmperf.errors import UsageError
from vllmperf.tokenizer.circle import Circle, Run
from vllmperf.tokenizer.fitted import Draw, Fit, fit_all, fit_runs
from vllmperf.tokenizer.tokens import Tokens

WORTH_A_CIRCLE = 2
"""The whole vocabulary is encoded when the prompts go so often around it."""


def samples(
    tokens: Tokens,
    chance: Chance,
    version: Version,
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
    """n samples; batch: so many of them together are one request (embeddings, 0.33).

    0.6: lengths in [len · ratio, len]; 0.8: in [len · (1 - ratio), len · (1 + ratio)]; both decode once, so that
    a server may count other lengths. 0.33 makes texts that encode to the asked length, special tokens included.
    """
    if version != "2026":
        lengths = (input_len, output_len, prefix_len)
        return _decoded_once(tokens, chance.numpy, version, n, lengths, input_ratio)
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
    ring = tokens.usual_ids.tolist()
    is_worth_it = sum(run.length for run in runs) >= WORTH_A_CIRCLE * len(ring)
    circle = Circle.of(tokens, ring) if is_worth_it else None
    return fit_runs(tokens, circle, runs, ring, wanted, more)


def _check(tokens: Tokens, input_len: int, prefix_len: int, ratio: float) -> None:
    own = max(0, input_len - tokens.special_count)
    if prefix_len + int(np.floor(own * (1 - ratio))) < 1:
        raise UsageError(
            f"--random-input-len {input_len} is too short: the tokenizer puts {tokens.special_count} tokens "
            "around a prompt and nothing is left; give more"
        )


def _prefix(tokens: Tokens, draw: np.random.Generator, length: int, more: Draw) -> list[int]:
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


# ---- 0.6 and 0.8 ----


def _decoded_once(
    tokens: Tokens,
    draw: np.random.RandomState,
    version: Version,
    n: int,
    lengths: tuple[int, int, int],
    ratio: float,
) -> list[Sample]:
    """Order of draws: prefix, input lengths, output lengths, offsets."""
    input_len, output_len, prefix_len = lengths
    vocab = tokens.vocab_size
    prefix = draw.randint(0, vocab, size=prefix_len).tolist() if prefix_len > 0 or version == "0.6" else []
    inputs = _lengths(draw, version, input_len, ratio, n)
    outputs = _lengths(draw, version, output_len, ratio, n)
    starts = draw.randint(0, vocab, size=n) + np.arange(n)
    texts = tokens.decode(
        [
            prefix + ((start + np.arange(length)) % vocab).tolist()
            for start, length in zip(starts, inputs, strict=True)
        ]
    )
    return [
        Sample(text, prefix_len + length, output, number)
        for number, (text, length, output) in enumerate(
            zip(texts, inputs.tolist(), outputs.tolist(), strict=True)
        )
    ]


def _lengths(
    draw: np.random.RandomState, version: Version, length: int, ratio: float, n: int
) -> NDArray[np.int64]:
    if version == "0.8" and ratio >= 1:
        raise UsageError(f"--random-range-ratio is {ratio:g}: it must be below 1 in this version")
    low = int(length * ratio) if version == "0.6" else int(length * (1 - ratio))
    high = length if version == "0.6" else int(length * (1 + ratio))
    found: NDArray[np.int64] = draw.randint(low, high + 1, size=n)
    return found
