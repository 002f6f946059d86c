"""sonnet: lines of a poem, the first ones as a common prefix, the rest drawn (0.6 and 0.8; 0.33 has it no more)."""

from __future__ import annotations

import io

from vllmperf.datasets.files import read_text
from vllmperf.datasets.sample import Chance, Sample, Version
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

BEGIN = "Pick as many lines as you can from these poem lines:\n"
MOST_DRAWS = 10_000
"""A prompt that never gets short enough is a mistake in the arguments."""


def samples(
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
    poem = io.StringIO(read_text(path)).readlines()
    if not poem:
        raise UsageError(f"--dataset-path {path} is empty")
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
