"""The runs of a fit: which concurrency and which prompts, for how long, in which order; carried out one by one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.errors import SettingError
from vllmperf.target import client_of

if TYPE_CHECKING:
    from vllmperf.loadgen.subscribers import Watch
    from vllmperf.loadgen.task import Task
    from vllmperf.record.reader import Recording

ONE_TOKENS = 4
"""Output of the runs that time prompts alone: the shorter, the more prompts."""
ALONE_PARTS, ALONE_SHARE = 3, 0.2
"""Those are cut into parts which lie between the other runs: a machine that is late for some seconds is late in one."""
MIXED, MIXED_TOKENS, MIXED_SHARE = 4, 12, 0.5
"""Streams, output tokens and time of runs whose steps often hold a prompt beside sequences that decode."""
SPREAD = 0.2
"""Lengths are drawn within ±20 %: equal outputs keep all streams in lockstep, so that no step decodes while
another's prompt is read, and the batch hardly varies."""
LEAST_RUN_S = 2.0
HOLD_OUT = 0.75
WARM_UP_SHARE = 0.25
"""Of the time of a usual run: for one at the most streams before all others, which is not used. A server that has just
started still compiles, captures graphs and fills caches."""


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
        raise SettingError(
            "{shapes} {text!r} is no list of INPUT/OUTPUT tokens: write 128/128,512/128", text=text
        ) from None
    if any(shape.input_tokens < 1 or shape.output_tokens < 2 for shape in found):
        raise SettingError("{shapes} {text!r}: prompts need 1 token and outputs 2 at least", text=text)
    return found


def spots(most: int, shapes: Sequence[Shape]) -> tuple[Spot, ...]:
    """Powers of two up to `most` with the first shape, `most` with every other one, every prompt length alone and beside
    few others, and one run that is held out."""
    sizes = sorted({*(2**power for power in range(most.bit_length())), most})
    first = shapes[0]
    usual = [Spot(size, first) for size in sizes]
    others = [Spot(most, shape) for shape in shapes[1:]]
    lengths = dict.fromkeys(shape.input_tokens for shape in shapes)
    if len(lengths) == 1:
        lengths[4 * first.input_tokens] = None
    alone = [Spot(1, Shape(length, ONE_TOKENS), ALONE_SHARE) for length in lengths] * ALONE_PARTS
    mixed = [Spot(min(MIXED, most), Shape(length, MIXED_TOKENS), MIXED_SHARE) for length in lengths]
    held = [Spot(max(1, round(HOLD_OUT * most)), shapes[-1], held_out=True)]
    return (*usual, *others, *mixed, *alone, *held)


def run_seconds(planned: Sequence[Spot], budget_s: float) -> float:
    """Of a usual run. Raises UsageError when the budget is too small for all."""
    total = WARM_UP_SHARE + sum(spot.share for spot in planned)
    each = budget_s / total
    if each < LEAST_RUN_S:
        raise SettingError(
            f"{{budget}} {budget_s:g} s is too short for {len(planned)} runs: give {math.ceil(LEAST_RUN_S * total)}s or more"
        )
    return each


@dataclass(frozen=True)
class Done:
    """A spot that was run, its run file, and how many requests the server said were running."""

    spot: Spot
    path: Path
    server_running: float | None


def carry_out(
    task: Task,
    planned: Sequence[Spot],
    each_s: float,
    folder: Path,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
    watch: Watch | None = None,
) -> list[Done]:
    """Run every spot in an order drawn by `seed`. task: what all runs share. watch: listens to each of them.

    The order is mixed so that a server that grows slower or faster does not look like a law. Each run has prompts of
    its own: a prefix cache would answer a second time. Raises TargetError when the server answers nothing.
    """
    from vllmperf.model.answer_check import check_answered
    from vllmperf.scrape.running import Running

    order = list(enumerate(planned))
    random.Random(seed).shuffle(order)
    most = max(planned, key=lambda spot: spot.concurrency)
    tell(f"warm-up: {most.label}, {each_s * WARM_UP_SHARE:.0f} s")
    warm_up = folder / "warm-up.vllmperf"
    check_answered(_run(task, most, each_s * WARM_UP_SHARE, warm_up, seed * 1000 + 999, watch))
    done: dict[int, Done] = {}
    for count, (place, spot) in enumerate(order, start=1):
        tell(f"run {count} of {len(order)}: {spot.label}, {each_s * spot.share:.0f} s")
        shape = f"{spot.shape.input_tokens}-{spot.shape.output_tokens}"
        path = folder / f"fit-{place:02d}-{spot.concurrency}x{shape}.vllmperf"
        with client_of(task.plan.target, task.credentials) as client, Running(client) as running:
            _run(task, spot, each_s * spot.share, path, seed * 1000 + place, watch)
        done[place] = Done(spot, path, running.mean)
    return [done[place] for place in range(len(planned))]


def _run(task: Task, spot: Spot, seconds: float, path: Path, seed: int, watch: Watch | None) -> Recording:
    from vllmperf.loadgen.recorded import ONLY_TIME, record_run

    path.unlink(missing_ok=True)
    one = task.replace(
        max_concurrency=spot.concurrency,
        **ONLY_TIME,
        duration=seconds,
        input_len=spot.shape.input_tokens,
        output_len=spot.shape.output_tokens,
        random_range_ratio=SPREAD,
        seed=seed % 2**32,
        label=spot.label,
    )
    made = record_run(one, path, watch=watch)
    if made.recording.state == "interrupted":
        raise KeyboardInterrupt
    return made.recording
