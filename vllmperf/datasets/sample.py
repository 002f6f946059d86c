"""What a data set gives, and the rules that several of them share."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from vllmperf.errors import UsageError
from vllmperf.load.draws import Integers

Version = Literal["0.6", "0.8", "2026"]
"""Whose rules: vLLM 0.6.4, 0.8.5 (both benchmarks/benchmark_serving.py), 0.33 (`vllm bench serve`)."""

SHORTEST, LONGEST_PROMPT, LONGEST_TOTAL = 4, 1024, 2048

DATASETS: Mapping[str, tuple[Version, ...]] = {
    "random": ("0.6", "0.8", "2026"),
    "sharegpt": ("0.6", "0.8", "2026"),
    "sonnet": ("0.6", "0.8"),
    "hf": ("0.6", "0.8", "2026"),
    "burstgpt": ("0.8", "2026"),
    "custom": ("2026",),
    "spec_bench": ("2026",),
    "prefix_repetition": ("2026",),
    "timed_trace": ("2026",),
    "random-rerank": ("2026",),
}
"""Which version has which data set."""

LATER = ("random-mm", "custom_image", "custom_audio", "speed_bench", "custom_mm")
"""Data sets of the originals that are not here (images, audio, prepared folders): refused by name."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request before it is one. Lengths in tokens, as the original counts them.

    prompt: a text, token ids, several texts (embeddings, rerank), or chat messages. number: of its request id,
    None when it has none. time_s: when a trace sends it.
    """

    prompt: str | list[int] | list[str] | list[dict[str, Any]]
    prompt_len: int
    output_len: int
    number: int | None = None
    time_s: float | None = None


class Chance:
    """Python's and NumPy's global generators, as the originals seed and use them, but of this run alone."""

    def __init__(self, seed: int) -> None:
        self.python = random.Random(seed)
        self.numpy = np.random.RandomState(seed)

    def seed(self, seed: int) -> None:
        """Begin both anew."""
        self.python.seed(seed)
        self.numpy.seed(seed)


def is_fit(prompt_len: int, output_len: int, *, is_fixed: bool) -> bool:
    """vLLM's bounds for conversations. is_fixed: the output length was asked for and may be short."""
    is_short = prompt_len < SHORTEST or (not is_fixed and output_len < SHORTEST)
    return not is_short and prompt_len <= LONGEST_PROMPT and prompt_len + output_len <= LONGEST_TOTAL


def filled_up(
    found: list[Sample], wanted: int, chance: Chance, seed: int, version: Version = "2026"
) -> list[Sample]:
    """Samples drawn again with replacement until there are as many as wanted (since 0.8). UsageError for none.

    0.8 draws them all in one call, 0.33 one by one: Python's generator then gives others.
    """
    if not found:
        raise UsageError("the data set has no usable row: check --dataset-path and the length flags")
    if len(found) >= wanted:
        return found
    chance.python.seed(seed)
    missing = wanted - len(found)
    one_by_one = (chance.python.choice(found) for _ in range(missing))
    drawn = chance.python.choices(found, k=missing) if version == "0.8" else list(one_by_one)
    return found + [replace(sample, number=number) for number, sample in enumerate(drawn, len(found))]


def spread(draw: Integers, length: int, ratio: float, n: int, least: int = 0) -> Sequence[int]:
    """n lengths, uniform within length × (1 ± ratio), both ends included (0.33)."""
    low, high = int(np.floor(length * (1 - ratio))), int(np.ceil(length * (1 + ratio)))
    drawn: list[int] = draw.integers(max(low, least), max(high, least) + 1, size=n).tolist()
    return drawn
