"""One machine's share of a run: every n-th request, at its time in the whole plan. The shares together are the plan."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vllmperf.errors import SettingError
from vllmperf.loadgen.bodies import Body
from vllmperf.loadgen.engine_group import shares
from vllmperf.loadgen.schedule import Schedule, Times
from vllmperf.loadgen.task import Task
from vllmperf.plan.knobs import patience_s, shared

SPLIT = ("max_concurrency", "warm_connections", "max_in_flight_hint")
"""Of these each machine has its share."""


@dataclass(frozen=True, slots=True)
class Share:
    """Request i of the plan is mine when i modulo `of` is `index`."""

    index: int
    of: int

    def schedule(self, whole: Schedule) -> Schedule:
        """Of my requests. Raises SettingError when there is none."""
        n = None if whole.n is None else len(range(self.index, whole.n, self.of))
        if n == 0:
            raise SettingError(
                "{share} {index}/{of}: the plan has {n} requests, fewer than shares",
                index=self.index,
                of=self.of,
                n=whole.n,
            )
        return Schedule(n, None if whole.times is None else self._times(whole.times))

    def bodies(self, whole: Iterator[Body]) -> Iterator[Body]:
        """Those of my requests."""
        return itertools.islice(whole, self.index, None, self.of)

    def numbers(self) -> Iterator[int]:
        """Of my requests in the plan."""
        return itertools.count(self.index, self.of)

    def config(self, whole: dict[str, Any]) -> dict[str, Any]:
        """The engine's configuration. Raises SettingError when there are fewer slots than shares."""
        if 0 < whole["max_concurrency"] < self.of:
            raise SettingError(
                "{max_concurrency} must be at least 1 for each of the {n} shares (got {got})",
                n=self.of,
                got=whole["max_concurrency"],
            )
        return {**whole, **{name: shares(whole[name], [1] * self.of)[self.index] for name in SPLIT}}

    def _times(self, pieces: Iterator[Times]) -> Iterator[Times]:
        first = self.index  # the next of mine, from the beginning of the piece
        for piece in pieces:
            yield piece[first :: self.of]
            first = (first - len(piece)) % self.of


def share_of(task: Task) -> Share | None:
    """The share that a task asks for; None: all of it. Raises SettingError for a plan that has none."""
    if task.knobs.share is None:
        return None
    plan = task.plan
    if plan.workload.dataset.conversations is not None:
        raise SettingError(
            "{share}: conversations are not split, a turn follows the answer to the one before"
        )
    if plan.target.other_urls:
        raise SettingError("{share}: each machine loads one {base_url}")
    if plan.load.until is not None:
        raise SettingError(
            "{share}: a machine that sees a part cannot tell what {until} is known; give {duration}"
        )
    if patience_s(task.knobs.on_server_loss) is not None:
        raise SettingError("{share}: one machine does not wait for the others, leave {on_server_loss} out")
    return Share(*shared(task.knobs.share))
