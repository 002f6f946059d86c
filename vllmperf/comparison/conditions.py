"""Conditions under which a run fails, for pipelines: "ttft_p99>500ms", or "ttft_p99 +5%" against a baseline."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from vllmperf.comparison.comparison import Comparison
from vllmperf.comparison.figures import Figures
from vllmperf.errors import UsageError
from vllmperf.metrics.difference import CHANCE, Difference
from vllmperf.metrics.estimates import estimates
from vllmperf.metrics.intervals import needed
from vllmperf.metrics.quantity import Quantity, quantity
from vllmperf.numbers import brief

ABSOLUTE = re.compile(r"\s*([\w.-]+?)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)\s*([^\s\d]*)\s*")
RELATIVE = re.compile(r"\s*([\w.-]+?)\s*([+-])\s*(\d+(?:\.\d+)?)\s*%\s*")
COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
TIMES = {"": 1.0, "ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3, "min": 6e4}
"""Of a unit, in ms."""
OTHERS = {"s": {"": 1.0, "s": 1.0, "ms": 1e-3, "min": 60.0}, "share": {"": 1.0, "%": 0.01}}
EXAMPLES = "write ttft_p99>500ms, or ttft_p99 +5% against a baseline"


@dataclass(frozen=True, slots=True)
class Condition:
    """text: as it was given. sign: a comparison, or + or - for a change. limit: ms for times, a share for a change."""

    text: str
    quantity: Quantity
    sign: str
    limit: float

    @property
    def is_relative(self) -> bool:
        return self.sign in "+-"


PASSED, FAILED, CANNOT_TELL = "passed", "failed", "cannot tell"
SHOWN = {FAILED: "FAILED"}


@dataclass(frozen=True, slots=True)
class Judged:
    """A condition and one run. outcome: CANNOT_TELL where the number was not measured, or nobody can tell whether it is chance.
    value: in ms for times; of a relative condition the change as a share."""

    condition: str
    run: str
    outcome: str
    value: float | None
    words: str

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        """FAILED ttft_p99>500ms: after.vllmperf: P99 TTFT is 523 ms"""
        return f"{SHOWN.get(self.outcome, self.outcome)} {self.condition}: {self.words}"


def parsed(texts: Sequence[str]) -> list[Condition]:
    """Raises UsageError, which names the nearest metric."""
    return [_parsed(text) for text in texts]


def _parsed(text: str) -> Condition:
    if match := RELATIVE.fullmatch(text):
        return Condition(text.strip(), _named(text, match[1]), match[2], float(match[3]) / 100)
    if match := ABSOLUTE.fullmatch(text):
        wanted = _named(text, match[1])
        units = TIMES if wanted.metric is not None else OTHERS.get(wanted.unit, {"": 1.0, "/s": 1.0})
        if match[4] not in units:
            raise UsageError(f"--fail-if {text!r}: {wanted.name} is in {wanted.unit}, not in {match[4]!r}")
        return Condition(text.strip(), wanted, match[2], float(match[3]) * units[match[4]])
    raise UsageError(f"--fail-if {text!r} is no condition: {EXAMPLES}")


def _named(text: str, name: str) -> Quantity:
    try:
        return quantity(name)
    except UsageError as error:
        raise UsageError(f"--fail-if {text!r}: {error}") from None


# ---- judging ----


def of_run(conditions: Sequence[Condition], side: Figures) -> list[Judged]:
    """Of one run without a baseline. Raises UsageError for a relative condition."""
    for one in conditions:
        if one.is_relative:
            raise UsageError(
                f"--fail-if {one.text!r} needs a baseline: vllmperf compare BASELINE RUN --fail-if …"
            )
    return [_absolute(one, side) for one in conditions]


def of_comparison(conditions: Sequence[Condition], found: Comparison) -> list[Judged]:
    """Of the second side; relative ones against the first. Raises UsageError where nobody could tell chance."""
    relative = [one for one in conditions if one.is_relative]
    if relative and not found.has_requests:
        raise UsageError(_no_chance(relative[0], found))
    differences = found.differences([one.quantity for one in relative])
    known = [differences.get(one.quantity.name) for one in relative]
    corrected = found.corrected([None if one is None else one.p for one in known])
    chances = {one.text: (each, p) for one, each, p in zip(relative, known, corrected, strict=True)}
    return [
        _relative(one, found, *chances[one.text]) if one.is_relative else _absolute(one, found.second)
        for one in conditions
    ]


def _absolute(one: Condition, side: Figures) -> Judged:
    value = side.value(one.quantity)
    if value is None:
        words = f"{one.quantity.label} was not measured"
        return Judged(one.text, side.name, CANNOT_TELL, None, _of(side, words))
    outcome = FAILED if COMPARE[one.sign](value, one.limit) else PASSED
    words = f"{one.quantity.label} is {_with_unit(value, one.quantity)}"
    return Judged(one.text, side.name, outcome, value, _of(side, words))


def _relative(one: Condition, found: Comparison, difference: Difference | None, p: float | None) -> Judged:
    first, second = found.first.value(one.quantity), found.second.value(one.quantity)
    name = one.quantity.label
    if first is None or second is None or first == 0:
        words = _of(found.second, f"{name} was not measured on both sides")
        return Judged(one.text, found.second.name, CANNOT_TELL, None, words)
    change = (second - first) / abs(first)
    sides = f"{name} {_with_unit(first, one.quantity)} → {_with_unit(second, one.quantity)}, {change:+.1%}"
    if difference is None or p is None:
        words = f"{sides}, too few requests to tell it from chance{_enough(one.quantity, found)}"
        return Judged(one.text, found.second.name, CANNOT_TELL, change, _of(found.second, words))
    is_beyond = p < CHANCE
    has_passed_limit = change > one.limit if one.sign == "+" else change < -one.limit
    words = f"{sides}, {'beyond' if is_beyond else 'within'} chance"
    outcome = FAILED if is_beyond and has_passed_limit else PASSED
    return Judged(one.text, found.second.name, outcome, change, _of(found.second, words))


def _of(side: Figures, words: str) -> str:
    return f"{side.name}: {words}" if side.name else words


def _with_unit(value: float, wanted: Quantity) -> str:
    if wanted.unit == "share":
        return f"{brief(100 * value)} %"
    return f"{brief(value, 4)} {wanted.unit}"


def _enough(wanted: Quantity, found: Comparison) -> str:
    """How many requests a run takes: as the sides show, which lack an interval, else were they independent."""
    if wanted.metric is None or (wanted.statistic != "mean" and wanted.percentile is None):
        return ""
    shown = [
        estimates(side.done, [wanted])[wanted.name].interval.needed
        for side in (found.first, found.second)
        if side.done is not None
    ]
    count = max((n for n in shown if n is not None), default=needed(wanted.percentile))
    return "" if count is None else f"; about {count:,} requests or more would do"


def _no_chance(one: Condition, found: Comparison) -> str:
    first, second = found.first, found.second
    if first.rule != second.rule and None not in (first.done, second.done):
        return f"--fail-if {one.text!r}: {first.name} and {second.name} follow different rules (docs/profiles.md)"
    name = first.name if first.done is None else second.name
    return (
        f"--fail-if {one.text!r}: {name} has figures only, which do not tell a change from chance: give a run file "
        "(bench --record), or an absolute condition"
    )
