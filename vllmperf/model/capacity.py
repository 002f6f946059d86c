"""What a search for the capacity of a live server found: its steps, the estimate, the JSON of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import shown
from vllmperf.model.calibrate import Point
from vllmperf.model.parameters import Fit
from vllmperf.model.slo import ERROR, Answer, Limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA = 2
"""2: carried_per_s and estimate_per_s instead of capacity_per_s, TPOT for what was called ITL."""


@dataclass(frozen=True)
class Step:
    """One rate that was tried. above: it lies above the capacity, for all that this step says (answer.verdict says
    whether that is sure). tpot_ms and ttft_ms: means of what completed, None when nothing did; ..._of_share_ms: the times
    within which the share of the SLO of them lies."""

    rate_per_s: float
    answer: Answer
    above: bool
    elapsed_s: float
    cut_short: bool
    path: Path
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    ttft_of_share_ms: float | None = None
    tpot_of_share_ms: float | None = None
    late: float = (
        0.0  # share of requests that this client itself sent late, by more than a tenth of the TTFT's limit
    )
    met: bool = False  # its own requests kept the SLO, whether or not they are enough to be sure


@dataclass(frozen=True, repr=False)
class Capacity(shown.Shown):
    """What a server carries within its SLO.

    rate_per_s: the highest rate that it was seen to carry, below all that failed; None when none was. confidence: that it
    does; None when its requests met the SLO, and were too few to be sure. unsure_per_s: a higher one of that kind.
    estimate_per_s with low and high: where the capacity lies, estimated from all steps, with its 95 % interval.
    needed_budget_s: the time that would bring this to about ±5 %; None when it is as narrow as that, or nothing tells.

    method of the estimate: "law", "windows", or "steps" when at_least: no rate
    failed, the true capacity lies above. slowness: factor on the law's times that the server showed.
    curve: what the law says around the capacity; empty without one. max_num_seqs: None when no limit of sequences was seen.

    >>> found = Capacity(22.8, 0.97, None, 24.1, 23.5, 24.6, "law", Limits(500.0, 20.0), steps=(), elapsed_s=300.0)
    >>> found.low < found.estimate_per_s < found.high, found.to_dict()["carried_per_s"]
    (True, {'value': 22.8, 'confidence': 0.97})
    """

    rate_per_s: float | None
    confidence: float | None
    unsure_per_s: float | None
    estimate_per_s: float | None
    low: float | None
    high: float | None
    method: str
    limits: Limits
    steps: tuple[Step, ...]
    elapsed_s: float
    slowness: float | None = None
    max_num_seqs: int | None = None
    fit: Fit | None = None
    at_least: bool = False
    interrupted: bool = False
    warnings: tuple[str, ...] = ()
    curve: tuple[Point, ...] = ()
    needed_budget_s: float | None = None

    def to_dict(self) -> dict[str, object]:
        """The object that `--json` prints; docs/capacity.md has its schema."""
        limits = self.limits
        known = self.low is not None or self.high is not None
        return {
            "schema": SCHEMA,
            "carried_per_s": {"value": self.rate_per_s, "confidence": self.confidence},
            "unsure_per_s": self.unsure_per_s,
            "estimate_per_s": {
                "value": self.estimate_per_s,
                "ci95": [self.low, self.high] if known else None,
            },
            "needed_budget_s": self.needed_budget_s,
            "at_least": self.at_least,
            "slo": {"ttft_ms": limits.ttft_ms, "tpot_ms": limits.tpot_ms, "goodput": limits.share},
            "method": self.method,
            "steps": [_step_json(step) for step in self.steps],
            "elapsed_s": self.elapsed_s,
            "interrupted": self.interrupted,
            "max_num_seqs": self.max_num_seqs,
            "law": None if self.fit is None else self.fit.to_dict()["parameters"],
            "slowness": self.slowness,
            "curve": [dict(vars(point)) for point in self.curve],
            "warnings": list(self.warnings),
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """The share of requests that keep the SLO against the rate, with the capacity and its interval, on `ax`; without one,
        on a new figure with TTFT and TPOT above. Needs matplotlib."""
        return shown.views().axes(self, ax)


@dataclass(frozen=True)
class Carried:
    """As in Capacity."""

    rate_per_s: float | None
    confidence: float | None
    unsure_per_s: float | None


def carried(
    steps: Sequence[Step], most_per_s: float = math.inf, most_unsure_per_s: float = math.inf
) -> Carried:
    """What was seen to be carried, below every rate that surely failed. A step that passes or meets the SLO above most_per_s,
    the low end of a law's estimate, may have ended before its queue showed; where none passed for sure, one that met the SLO
    above most_unsure_per_s, the low end of any estimate, may be chance."""
    failed = min((step.rate_per_s for step in steps if step.answer.verdict == "fail"), default=math.inf)
    below = [step for step in steps if step.rate_per_s < failed]
    passed = [step.rate_per_s for step in below if step.answer.verdict == "pass"]
    sure = max((rate for rate in passed if rate <= most_per_s), default=None)
    met = [step.rate_per_s for step in below if step.met and step.rate_per_s > (sure or 0.0)]
    if sure is None:
        most = min(most_per_s, most_unsure_per_s)
        return Carried(max((rate for rate in met if rate <= most), default=None), None, None)
    return Carried(sure, 1 - ERROR, max(met, default=None))


def surely_carried(steps: Sequence[Step]) -> float:
    """The highest rate that surely passed, else the lowest that was tried: a rate whose few requests met the SLO may lie above
    the capacity, as its queue had no time to show."""
    seen = carried(steps)
    lowest = min(step.rate_per_s for step in steps)
    return lowest if seen.confidence is None or seen.rate_per_s is None else seen.rate_per_s


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "rate_per_s": step.rate_per_s,
        "verdict": step.answer.verdict,
        "met_slo": step.met,
        "above": step.above,
        "bad_share": step.answer.bad,
        "bad_share_bounds": [step.answer.low, step.answer.high],
        "requests": step.answer.n,
        "mean_ttft_ms": step.ttft_ms,
        "mean_tpot_ms": step.tpot_ms,
        "ttft_of_share_ms": step.ttft_of_share_ms,
        "tpot_of_share_ms": step.tpot_of_share_ms,
        "elapsed_s": step.elapsed_s,
        "cut_short": step.cut_short,
        "run_file": str(step.path),
    }
