"""A search for the capacity as people read it: the answer, then the steps behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllmperf.numbers import NOTHING, brief, duration, number, percent, share
from vllmperf.report.sheet import Sheet
from vllmperf.report.table import Row, Span, Table

if TYPE_CHECKING:
    from vllmperf.model.capacity import Capacity, Step

WIDE = 0.5
"""An interval of more than this part of the estimate: a single number would say more than is known."""
METHODS = {
    "law": "by the server's step law, held against these very requests",
    "windows": "by a curve through the goodput of all windows",
    "steps": "no rate failed",
}


def sheet(result: Capacity) -> Sheet:
    """The answer, and the steps behind it."""
    return Sheet([_head(result), _steps(result), _warnings(result)])


def _head(result: Capacity) -> list[Span]:
    lines = [(answer(result), "strong"), (estimate(result), ""), (f"{slo(result)}; {_how(result)}", "")]
    return [line for line in lines if line[0]]


def _warnings(result: Capacity) -> list[Span]:
    return [(f"! {text}", "warning") for text in result.warnings]


def answer(result: Capacity) -> str:
    """The server carries at least 33.5 requests/s, seen with 95 % confidence."""
    if not result.steps:
        return "The capacity is not known: no step was made."
    if result.rate_per_s is None:
        lowest = min(step.rate_per_s for step in result.steps)
        return f"No rate was seen to be carried: {number(lowest)} requests/s was the lowest that was tried."
    rate = f"The server carries at least {number(result.rate_per_s)} requests/s"
    if result.confidence is None:
        return f"{rate}, as far as its few requests tell."
    return f"{rate}, seen with {percent(result.confidence)} confidence."


def estimate(result: Capacity) -> str:
    """Its capacity is estimated at 45.6 requests/s (95 %: 45.1 … 46.1), or the interval alone where it is wide."""
    told = []
    if result.unsure_per_s is not None:
        told.append(f"{number(result.unsure_per_s)}/s met the SLO, too, for too short a time to be sure.")
    if result.at_least:
        told.append("No rate failed: the capacity lies above.")
    elif result.estimate_per_s is not None:
        low, high = number(result.low), number(result.high)
        if result.low and result.high and result.high - result.low > WIDE * result.estimate_per_s:
            told.append(f"Its capacity lies between {low} and {high} requests/s (95 %)")
        else:
            told.append(
                f"Its capacity is estimated at {number(result.estimate_per_s)} requests/s (95 %: {low} … {high})"
            )
        if result.needed_budget_s is None:
            told[-1] += "."
        else:
            told[-1] += f"; a budget of {duration(result.needed_budget_s)} would give about ±5 %."
    return " ".join(told)


def slo(result: Capacity) -> str:
    """99 % of the requests with TTFT ≤ 500 ms"""
    limits = result.limits
    parts = [f"TTFT ≤ {limits.ttft_ms:g} ms"] if limits.ttft_ms is not None else []
    parts += [f"TPOT ≤ {limits.tpot_ms:g} ms"] if limits.tpot_ms is not None else []
    return f"{brief(100 * limits.share, 4)} % of the requests with {' and '.join(parts)}"


def _how(result: Capacity) -> str:
    if not result.steps:
        return f"{result.elapsed_s:.0f} s"
    slots = f"; {result.max_num_seqs} sequences at once" if result.max_num_seqs else ""
    return f"{METHODS[result.method]}{slots}; {result.elapsed_s:.0f} s"


def _steps(result: Capacity) -> Table:
    heads = ("requests/s", "requests", "bad", "TTFT, ms", "TPOT, ms", "s")
    carried = result.rate_per_s if result.confidence is not None else None
    rows = (
        Row(f"{i}", _cells(step), _verdict(step, carried)) for i, step in enumerate(result.steps, start=1)
    )
    return Table("Steps", heads, tuple(rows), note_head="verdict", keeps_notes=True)


def _cells(step: Step) -> tuple[str, ...]:
    bad = NOTHING if step.answer.bad is None else share(step.answer.bad)
    return (
        number(step.rate_per_s),
        number(step.answer.n),
        bad,
        number(step.ttft_ms),
        number(step.tpot_ms),
        f"{step.elapsed_s:.0f}",
    )


def _verdict(step: Step, carried: float | None) -> str:
    """carried: the rate of the headline, where that is sure. What passed above it does not count: see model.capacity.carried."""
    lean = ", not counted" if step.answer.verdict == "pass" and step.rate_per_s > (carried or 0.0) else ""
    if step.answer.verdict == "unclear":
        lean = ": met the SLO" if step.met else ", rather above" if step.above else ", rather below"
    return f"{step.answer.verdict}{lean}{', cut short' if step.cut_short else ''}"
