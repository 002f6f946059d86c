"""Several runs of one plan with different seeds: each number over the runs, and whether the runs differ beyond chance. Knows
nothing of how it looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from vllmperf.comparison.comparison import QUANTITIES
from vllmperf.metrics.difference import Estimate, holm
from vllmperf.metrics.estimates import estimates
from vllmperf.metrics.intervals import Interval
from vllmperf.metrics.quantity import Quantity
from vllmperf.metrics.repeats import DIFFER, repeat_interval, spread
from vllmperf.run import Run
from vllmperf.shown import Shown

SCHEMA = 1
INTERRUPTED = "interrupted"
NUMBERS = tuple(QUANTITIES.values())


@dataclass(frozen=True, slots=True)
class Told:
    """What one run says. reasons: of its verdict, by the name of the rule. estimates: by the name of the number."""

    seed: int | None
    completed: int
    level: str
    reasons: dict[str, str]
    estimates: dict[str, Estimate]

    @classmethod
    def of(cls, run: Run) -> Told:
        """Reads the run file and keeps none of its requests, so that memory does not grow with the number of runs."""
        read = Run(run.path, trim=run.is_trimmed)
        summary = read.summary
        return cls(
            read.recording.plan.get("seed"),
            summary["requests"]["completed"],
            summary["verdict"]["level"],
            {each["name"]: each["reason"] for each in summary["verdict"]["findings"]},
            estimates(read.done, NUMBERS),
        )


@dataclass(frozen=True, slots=True)
class Number:
    """One number over the runs: its mean and the interval between runs. p: how often chance makes runs differ as much, corrected
    for all numbers; None where fewer than two runs have an interval of their own."""

    quantity: Quantity
    values: tuple[float, ...]
    interval: Interval
    p: float | None

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def differs(self) -> bool | None:
        """Whether the runs differ more than their own intervals allow; None where nobody knows."""
        return None if self.p is None else self.p < DIFFER


class Repeats(Shown, Sequence[Run]):
    """Finished runs in order.

    asked: how many there were to be. ended: why there are fewer, else "". numbers: those that every run has; each is also an
    attribute, like `repeats.ttft_p99`, with `mean` and `interval` in the unit of its quantity.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     repeats = vp.repeat(server, 2, max_concurrency=2, num_prompts=6, output_len=4)
    >>> repeats.asked, [told.seed for told in repeats.told], repeats.ttft_mean.quantity.unit
    (2, [0, 1], 'ms')
    """

    def __init__(self, runs: Sequence[Run], asked: int, ended: str = "") -> None:
        self.runs, self.asked, self.ended = tuple(runs), asked, ended
        self.told = tuple(Told.of(run) for run in self.runs)
        self.numbers = tuple(_numbers(self.told))

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C ended the runs."""
        return self.ended == INTERRUPTED

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __getitem__(self, place: Any) -> Any:
        return self.runs[place]

    def __getattr__(self, name: str) -> Number:
        """repeats.ttft_p99, repeats.requests_per_s"""
        numbers: tuple[Number, ...] = self.__dict__.get("numbers", ())
        found = next((one for one in numbers if one.quantity.name == name), None)
        if found is None:
            raise AttributeError(f"no {name!r} in these runs")
        return found

    def to_dict(self) -> dict[str, object]:
        """Plain values that json.dumps takes."""
        runs = zip(self.runs, self.told, strict=True)
        return {
            "schema": SCHEMA,
            "asked": self.asked,
            "ended": self.ended or None,
            "runs": [
                {
                    "path": str(run.path),
                    "seed": told.seed,
                    "completed": told.completed,
                    "verdict": told.level,
                    "reasons": list(told.reasons.values()),
                }
                for run, told in runs
            ],
            "numbers": {one.quantity.name: _plain(one) for one in self.numbers},
        }


def _numbers(told: Sequence[Told]) -> Iterator[Number]:
    known = [one for one in NUMBERS if told and all(one.name in each.estimates for each in told)]
    rows = [[each.estimates[one.name] for each in told] for one in known]
    chances = holm([spread(row).p for row in rows])
    for one, row, p in zip(known, rows, chances, strict=True):
        values = tuple(each.value for each in row)
        yield Number(one, values, repeat_interval(values), p)


def _plain(one: Number) -> dict[str, Any]:
    low, high = one.interval.low, one.interval.high
    return {
        "label": one.quantity.label,
        "unit": one.quantity.unit,
        "mean": one.mean,
        "ci95": None if low is None else [low, high],
        "values": list(one.values),
        "p": one.p,
        "differ": one.differs,
    }
