"""What is left of a run that was broken off: the requests that are not recorded, at the times that are left of the schedule."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from vllmperf.errors import SettingError
from vllmperf.loadgen.bodies import Body
from vllmperf.loadgen.schedule import Schedule, Times
from vllmperf.plan import Plan
from vllmperf.record.plans import plan_of
from vllmperf.record.reader import Header
from vllmperf.record.unfinished import Unfinished

NS = 1_000_000_000


class NothingLeftError(SettingError):
    """Every request of the run is recorded, or its time is over."""


class Rest:
    """The rest of a run, whose clock goes on where it stopped. Requests that were in flight then are sent first."""

    def __init__(self, before: Unfinished) -> None:
        self.before = before

    @property
    def request_id_prefix(self) -> str:
        """That of the run, so that ids tell its requests apart."""
        return str(self.before.meta["facts"]["request_id_prefix"])

    @property
    def model(self) -> str:
        return str(self.before.meta["facts"]["model"])

    def schedule(self, whole: Schedule) -> Schedule:
        """Of what is left; what was due before sending stopped is due at once. Raises NothingLeftError when nothing is."""
        n = None if whole.n is None else whole.n - self.before.n_done
        if n is not None and n <= 0:
            raise NothingLeftError(
                "{resume} {path}: all its requests are recorded, nothing is left to do", path=self.before.path
            )
        return Schedule(n, None if whole.times is None else self._times(whole.times))

    def _times(self, pieces: Iterator[Times]) -> Iterator[Times]:
        first = 0
        done = np.frombuffer(self.before.done, dtype=np.uint8)
        for piece in pieces:
            is_done = np.zeros(len(piece), dtype=bool)
            known = done[first : first + len(piece)]
            is_done[: len(known)] = known != 0
            first += len(piece)
            yield np.maximum(piece[~is_done] - self.before.due_ns, 0)

    def bodies(self, whole: Iterator[Body]) -> Iterator[Body]:
        """Those of the requests that are left."""
        return (body for number, body in enumerate(whole) if not self.before.is_done(number))

    def numbers(self) -> Iterator[int]:
        """Of the requests that are left."""
        return itertools.filterfalse(self.before.is_done, itertools.count())

    def duration_ns(self, plan: Plan) -> int:
        """What is left of it, 0 without one. Raises NothingLeftError when nothing is."""
        if plan.load.duration is None:
            return 0
        left = round(plan.load.duration * NS) - self.before.due_ns
        if left <= 0:
            raise NothingLeftError(
                "{resume} {path}: its time is over, nothing is left to do", path=self.before.path
            )
        return left


def check_plan(before: Unfinished | Header, asked: Plan, of: str = "{resume} {path}") -> None:
    """Raises SettingError, whose words begin with `of`, when what is asked for is not the plan of the file."""
    recorded = plan_of(before.meta)
    both = zip(recorded.to_dict().values(), asked.to_dict().values(), strict=True)
    for members, other in both:
        if members == other:
            continue
        name = next(name for name in members if members[name] != other[name])
        raise SettingError(
            of + ": {" + name + "} was {was} in this run, not {asked}: leave it out, or make a new run",
            path=before.path,
            was=repr(members[name]),
            asked=repr(other[name]),
        )
