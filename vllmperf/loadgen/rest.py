"""What is left of a run that was broken off: the requests that are not recorded, at the times that are left of the schedule."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vllmperf.errors import SettingError
from vllmperf.loadgen.bodies import Body
from vllmperf.loadgen.schedule import Schedule, Times
from vllmperf.plan import Plan
from vllmperf.plan.part import jsonable
from vllmperf.plan.plan import PARTS
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
    found = list(_differences(plan_of(before.meta).to_dict(), asked.to_dict()))
    if not found:
        return
    them = "it" if len(found) == 1 else "them"
    is_less = any(kind.endswith("is not now") for kind, _, _ in found)
    remedy = f"give {them} as then" if is_less else f"leave {them} out"
    words, values = list[str](), dict[str, object]()
    for number, (kind, name, sides) in enumerate(found):
        words.append(kind.format(name="{" + name + "}", was=f"{{was{number}}}", now=f"{{now{number}}}"))
        values |= {f"{side}{number}": value for side, value in sides.items()}
    raise SettingError(f"{of}: {'; '.join(words)}: {remedy}, or make a new run", path=before.path, **values)


ADDED = "{name} {now} was not given when this run started"
REMOVED = "{name} {was} was given when this run started and is not now"
CHANGED = "{name} was {was} when this run started and is {now} now"
LONG = "{name} was another when this run started"
OF_PLAN = {name: each for part in PARTS.values() for name, each in part.__dataclass_fields__.items()}
LONGEST = 60
"""A value that is longer is not repeated, and never a header's, which may be a secret."""


def _differences(
    recorded: Mapping[str, Any], asked: Mapping[str, Any]
) -> Iterator[tuple[str, str, dict[str, str]]]:
    """How, which setting, and both values, of all that differ."""
    for part, members in recorded.items():
        for name in members if isinstance(members, Mapping) else ():
            was, now = members[name], asked[part][name]
            if was == now:
                continue
            if name == "dataset_options":  # each is a flag
                for option in sorted({*was, *now}):
                    yield from _difference(option, was.get(option), now.get(option), None)
            else:
                yield from _difference(name, was, now, jsonable(OF_PLAN[name].default))


def _difference(
    name: str, was: object, now: object, usual: object
) -> Iterator[tuple[str, str, dict[str, str]]]:
    if was == now:
        return
    texts = {"was": _text(was), "now": _text(now)}
    if name == "headers" or max(map(len, texts.values())) > LONGEST:
        yield LONG, name, {}
    elif isinstance(usual, bool):  # a flag without a value
        yield (REMOVED if now == usual else ADDED).replace(" {now}", "").replace(" {was}", ""), name, {}
    elif was == usual or was in (None, {}):
        yield ADDED, name, texts
    elif now in (None, {}):
        yield REMOVED, name, texts
    else:
        yield CHANGED, name, texts


def _text(value: object) -> str:
    """As one would write it behind a flag."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={_text(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
