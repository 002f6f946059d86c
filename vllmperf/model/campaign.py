"""The runs of a fit: which concurrency and which prompts, for how long, in which order; carried out one by one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllmperf.errors import UsageError

ONE_TOKENS = 8
"""Output of the runs that time prompts alone: the shorter, the more prompts."""
SPREAD = 0.2
"""Lengths are drawn within ±20 %: equal outputs keep all streams in lockstep, so that no step decodes while
another's prompt is read, and the batch hardly varies."""
LEAST_RUN_S = 2.0
LEAST_COUNT = 5
HOLD_OUT = 0.75


@dataclass(frozen=True)
class Shape:
    """Mean tokens of prompt and output."""

    input_tokens: int
    output_tokens: int

    def __str__(self) -> str:
        return f"{self.input_tokens}/{self.output_tokens}"


@dataclass(frozen=True)
class Spot:
    """One run of the campaign."""

    concurrency: int
    shape: Shape
    share: float = 1.0  # of the time of a usual run
    held_out: bool = False

    @property
    def label(self) -> str:
        return f"{self.concurrency} at {self.shape}"


def shapes_of(text: str) -> tuple[Shape, ...]:
    """128/128,512/128. Raises UsageError."""
    try:
        found = tuple(Shape(*(int(part) for part in one.split("/"))) for one in text.split(","))
    except (TypeError, ValueError):
        raise UsageError(
            f"--shapes {text!r} is no list of INPUT/OUTPUT tokens: write 128/128,512/128"
        ) from None
    if any(shape.input_tokens < 1 or shape.output_tokens < 2 for shape in found):
        raise UsageError(f"--shapes {text!r}: prompts need 1 token and outputs 2 at least")
    return found


def spots(most: int, shapes: Sequence[Shape]) -> tuple[Spot, ...]:
    """Powers of two up to `most` with the first shape, `most` with every other one, every prompt length alone, and
    one run that is held out."""
    sizes = sorted({*(2**power for power in range(most.bit_length())), most})
    first = shapes[0]
    usual = [Spot(size, first) for size in sizes]
    others = [Spot(most, shape) for shape in shapes[1:]]
    lengths = dict.fromkeys(shape.input_tokens for shape in shapes)
    if len(lengths) == 1:
        lengths[4 * first.input_tokens] = None
    alone = [Spot(1, Shape(length, ONE_TOKENS), share=0.5) for length in lengths]
    held = [Spot(max(1, round(HOLD_OUT * most)), shapes[-1], held_out=True)]
    return (*usual, *others, *alone, *held)


def run_seconds(planned: Sequence[Spot], budget_s: float) -> float:
    """Of a usual run. Raises UsageError when the budget is too small for all."""
    each = budget_s / sum(spot.share for spot in planned)
    if each < LEAST_RUN_S:
        least = LEAST_RUN_S * sum(spot.share for spot in planned)
        raise UsageError(
            f"--budget {budget_s:g} s is too short for {len(planned)} runs: give {least:.0f}s or more"
        )
    return each


def carry_out(
    settings: dict[str, Any],
    planned: Sequence[Spot],
    each_s: float,
    folder: Path,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> list[tuple[Spot, Path]]:
    """Run every spot in an order drawn by `seed` and give its run file. settings: arguments of vllmperf.bench.

    The order is mixed so that a server that grows slower or faster does not look like a law. Each run has prompts of
    its own: a prefix cache would answer a second time.
    """
    from vllmperf.api import bench

    order = list(enumerate(planned))
    random.Random(seed).shuffle(order)
    done: dict[int, Path] = {}
    for count, (place, spot) in enumerate(order, start=1):
        tell(f"run {count} of {len(order)}: {spot.label}, {each_s * spot.share:.0f} s")
        path = (
            folder
            / f"fit-{place:02d}-{spot.concurrency}x{spot.shape.input_tokens}-{spot.shape.output_tokens}.vllmperf"
        )
        bench(
            concurrency=spot.concurrency,
            duration=each_s * spot.share,
            input_len=spot.shape.input_tokens,
            output_len=spot.shape.output_tokens,
            random_range_ratio=SPREAD,
            seed=seed * 1000 + place,
            label=spot.label,
            record=path,
            **settings,
        )
        done[place] = path
    return [(spot, done[place]) for place, spot in enumerate(planned)]
