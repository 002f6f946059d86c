"""Which data sets a version of vLLM has, and how it fills them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from vllmperf.datasets.chance import Chance
from vllmperf.datasets.dataset import Sample
from vllmperf.errors import UsageError

Version = Literal["0.6", "0.8", "2026", "sglang"]
"""Whose rules: vLLM 0.6.4, 0.8.5 (both benchmarks/benchmark_serving.py), 0.33 (`vllm bench serve`), or SGLang's
client."""

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

LATER = ("random-mm", "custom_image", "custom_audio", "speed_bench", "custom_mm")
"""Data sets of the originals that are not here (images, audio, prepared folders): refused by name."""


def filled_up(
    found: list[Sample], wanted: int, chance: Chance, seed: int, version: Version = "2026"
) -> list[Sample]:
    """Samples drawn again with replacement until there are as many as wanted. UsageError for none.

    0.6 takes fewer. 0.8 draws them all in one call, 0.33 one by one: Python's generator then gives others.
    """
    if version == "0.6":
        return found
    if not found:
        raise UsageError("the data set has no usable row: check --dataset-path and the length flags")
    if len(found) >= wanted:
        return found
    chance.python.seed(seed)
    missing = wanted - len(found)
    one_by_one = (chance.python.choice(found) for _ in range(missing))
    drawn = chance.python.choices(found, k=missing) if version == "0.8" else list(one_by_one)
    return found + [sample._replace(number=number) for number, sample in enumerate(drawn, len(found))]
