"""The points of a sweep, and the order in which they are measured."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vllmperf.plan.json_object import JsonObject
from vllmperf.sweeps.axes import label
from vllmperf.sweeps.definition import RANDOM, RESTART, SEEDS, Definition
from vllmperf.sweeps.setups import Setup
from vllmperf.sweeps.setups.setup import slug

SUFFIX = ".vllmperf"
MOST_NAME = 160
"""Characters: most file systems take 255 bytes."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run: a set-up, a load, and the number of the repeat, from 1 on."""

    setup: Setup
    load: JsonObject
    repeat: int
    seed: int

    @property
    def load_label(self) -> str:
        """request_rate=4 output_len=64; "" where there is one load."""
        return label(self.load)

    @property
    def name(self) -> str:
        """Of its file, without the suffix: a sweep with more repeats or loads has the same names and more of them."""
        parts = [slug(part) for part in (self.setup.name, self.load_label, str(self.repeat)) if part]
        name = "--".join(parts)
        if len(name) <= MOST_NAME:
            return name
        return f"{name[:MOST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}--{self.repeat}"

    @property
    def title(self) -> str:
        """For people."""
        load = f", {self.load_label}" if self.load_label else ""
        return f"{self.setup.name}{load}, repeat {self.repeat}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "setup": self.setup.name,
            "values": self.setup.values.to_dict(),
            "load": self.load.to_dict(),
            "repeat": self.repeat,
            "seed": self.seed,
        }


def points(found: Definition) -> Iterator[Point]:
    """All of them, in the order in which they are measured.

    Blocks: each repeat measures everything once, so that a drift of the machine or of the servers meets all set-ups alike. Within
    a block the set-ups follow each other in random order, and within a set-up its loads: a server starts once a block. Where
    each point has a server of its own (reset: restart), all points of a block are in random order.
    """
    for repeat in range(1, found.course.repeat + 1):
        # A generator of each block's own: more repeats leave the earlier blocks as they are.
        chance = random.Random(f"{found.course.seed}/{repeat}")
        seed = (found.course.seed + repeat - 1) % SEEDS
        yield from (Point(setup, load, repeat, seed) for setup, load in _block(found, chance))


def _block(found: Definition, chance: random.Random) -> list[tuple[Setup, JsonObject]]:
    setups, is_random = list(found.setups), found.course.order == RANDOM
    if is_random:
        chance.shuffle(setups)
    cells: list[tuple[Setup, JsonObject]] = []
    for setup in setups:
        loads = list(found.loads)
        if is_random:
            chance.shuffle(loads)
        cells += [(setup, load) for load in loads]
    if is_random and found.course.reset == RESTART:
        chance.shuffle(cells)
    return cells
