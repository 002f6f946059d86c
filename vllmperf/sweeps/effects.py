"""What a set-up changes against the first one, load by load: over the repeats, paired by seed, corrected for all that is asked.

A pair is two runs of one load with one seed: the same requests, so that what differs between seeds is in neither. Its effect is
the logarithm of the ratio. The interval is Student's over the pairs: it knows of drift and of neighbours, as far as they changed
between repeats, which intervals within a run do not. One repeat has no pairs: then the two runs are compared as `compare` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from vllmperf.comparison.chance import differences
from vllmperf.comparison.setup import sends_the_same
from vllmperf.metrics.difference import CHANCE, holm
from vllmperf.metrics.distributions import student_t, student_tail
from vllmperf.metrics.intervals import LEVEL
from vllmperf.metrics.quantity import Quantity, quantity
from vllmperf.run import Run

HELD_AGAINST_CHANCE = tuple(map(quantity, ("ttft_p50", "ttft_p99", "itl_mean", "output_tokens_per_s")))
"""Few: each of them makes the others harder to see."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Of one number. change, low, high: share of the first set-up's, with its 95 % interval. p: how often chance alone gives as
    much, corrected for all effects of the sweep. None where nobody knows. pairs: runs on each side."""

    setup: str
    against: str
    load: str
    quantity: Quantity
    pairs: int
    change: float
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def is_beyond_chance(self) -> bool | None:
        return None if self.p is None else self.p < CHANCE

    @property
    def is_likely(self) -> bool:
        """Beyond chance if it were the only one: its own interval leaves out 0, and the correction takes that back."""
        is_alone = self.low is not None and self.high is not None and self.low * self.high > 0
        return is_alone and not self.is_beyond_chance


Values = Mapping[int, Mapping[str, float]]
"""By repeat, numbers by name."""


def over_repeats(setup: str, against: str, load: str, first: Values, second: Values) -> Iterator[Effect]:
    """Of numbers that both have in some repeats; not yet corrected."""
    shared = sorted(first.keys() & second.keys())
    for one in HELD_AGAINST_CHANCE:
        pairs = [(first[k].get(one.name, 0.0), second[k].get(one.name, 0.0)) for k in shared]
        logs = [math.log(b / a) for a, b in pairs if a > 0 and b > 0]
        if logs:
            yield _of_logs(Effect(setup, against, load, one, len(logs), math.expm1(fmean(logs))), logs)


def _of_logs(bare: Effect, logs: Sequence[float]) -> Effect:
    n, mean = len(logs), fmean(logs)
    if n < 2:
        return bare
    error = stdev(logs) / math.sqrt(n)
    half = student_t((1 + LEVEL) / 2, n - 1) * error
    t = abs(mean) / error if error > 0 else math.inf if mean else 0.0
    p = 2 * student_tail(t, n - 1)
    return replace(bare, low=math.expm1(mean - half), high=math.expm1(mean + half), p=p)


def of_two_runs(setup: str, against: str, load: str, first: Run, second: Run) -> Iterator[Effect]:
    """Of one run on each side: chance is the scatter within them."""
    is_paired = sends_the_same(first.recording.plan, second.recording.plan)
    found = differences(first.done, second.done, HELD_AGAINST_CHANCE, is_paired)
    for one in HELD_AGAINST_CHANCE:
        a = one.of(first.summary)
        if one.name in found and a:
            each = found[one.name]
            yield Effect(
                setup, against, load, one, 1, each.change / a, each.share_low, each.share_high, each.p
            )


def corrected(effects: Sequence[Effect]) -> list[Effect]:
    """With p corrected for all of them (Holm): sweeps of equal set-ups show any effect in at most 5 % of cases."""
    return [replace(one, p=p) for one, p in zip(effects, holm([one.p for one in effects]), strict=True)]
