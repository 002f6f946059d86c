"""The data sets of 0.6 and 0.8 that later versions make otherwise, or have no more."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from vllmperf import text_file
from vllmperf.datasets.chance import Chance
from vllmperf.datasets.dataset import Sample
from vllmperf.datasets.sonnet import BEGIN
from vllmperf.dropin.benchmark_serving.versions import Version
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

MOST_DRAWS = 10_000
"""A prompt that never gets short enough is a mistake in the arguments."""


# ---- random ----


def random(
    tokens: Tokens,
    draw: np.random.RandomState,
    version: Version,
    n: int,
    *,
    input_len: int,
    output_len: int,
    prefix_len: int,
    ratio: float,
) -> list[Sample]:
    """Neighbouring ids decoded once, so that a server may count other lengths.

    Lengths of 0.6 in [len · ratio, len], of 0.8 in [len · (1 - ratio), len · (1 + ratio)]. Order of draws: prefix, input
    lengths, output lengths, offsets.
    """
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
    made = zip(texts, inputs.tolist(), outputs.tolist(), strict=True)
    return [
        Sample(text, prefix_len + length, output, number)
        for number, (text, length, output) in enumerate(made)
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


# ---- sonnet ----


def sonnet(
    tokens: Tokens,
    chance: Chance,
    version: Version,
    n: int,
    *,
    path: str,
    input_len: int,
    output_len: int,
    prefix_len: int,
    is_chat: bool,
) -> list[Sample]:
    """n samples. A chat backend gets the plain text, others the text in the model's chat template.

    Lengths are those of the templated text. 0.8 draws again what is longer than input_len.
    """
    poem = _poem(path)
    average = sum(tokens.counts(poem)) / len(poem)
    begin = tokens.count(_templated(tokens, BEGIN))
    _check(version, input_len, prefix_len, begin)
    total = round((input_len - begin) / average)
    common = round((prefix_len - begin) / average)
    if version != "0.6":
        total, common = max(total, 1), max(common, 0)
    found: list[Sample] = []
    for _ in range(n * MOST_DRAWS):
        if len(found) >= n:
            return found
        text = BEGIN + "".join(poem[:common] + chance.python.choices(poem, k=total - common))
        templated = _templated(tokens, text)
        length = tokens.count(templated)
        if version == "0.6" or length <= input_len:
            found.append(Sample(text if is_chat else templated, length, output_len, len(found)))
    raise UsageError(f"--sonnet-input-len {input_len} is too short for the lines of the poem: give more")


def _poem(path: str) -> list[str]:
    """All lines, blank ones too."""
    if not path:
        raise UsageError("this data set needs --dataset-path FILE")
    try:
        poem = io.StringIO(text_file.read(path)).readlines()
    except OSError as error:
        raise UsageError(f"--dataset-path {path}: {error.strerror or error}") from None
    except text_file.NoTextError as error:
        raise UsageError(f"--dataset-path {path} {error}") from None
    if not poem:
        raise UsageError(f"--dataset-path {path} is empty")
    return poem


def _templated(tokens: Tokens, text: str) -> str:
    return tokens.chat([{"role": "user", "content": text}])


def _check(version: Version, input_len: int, prefix_len: int, begin: int) -> None:
    if input_len <= begin:
        raise UsageError(
            f"--sonnet-input-len must be above {begin}, the tokens that every prompt begins with"
        )
    if version != "0.6":
        return
    if prefix_len <= begin:
        raise UsageError(
            f"--sonnet-prefix-len must be above {begin}, the tokens that every prompt begins with"
        )
    if input_len <= prefix_len:
        raise UsageError("--sonnet-input-len must be above --sonnet-prefix-len")
