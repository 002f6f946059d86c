"""The answer of `vllmperf selftest` as people read it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from vllmperf.numbers import NOTHING, number, rough, share
from vllmperf.report.sheet import Sheet
from vllmperf.report.table import Row, Span, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllmperf.own_error import Limit, Point, SelfTest

HEADS = ("TTFT, mean", "TTFT, p99", "ITL, mean", "ITL, p99", "late, p99", "shared reads")
STOPPED = {
    "client": "beyond it the client adds more than {honest:g} ms",
    "simulator": "the simulator on this machine can send no more beside the client",
    None: "no more was tried",
}


def sheet(found: SelfTest) -> Sheet:
    """What this machine adds, and up to which load."""
    return Sheet([_head(found), *_tables(found), _notes(found)])


def _head(found: SelfTest) -> list[Span]:
    one, most = found.streams[0], found.streams[-1]
    adds = f"This machine adds {_added(one)} at 1 stream and {_added(most)} at {number(most.streams)} (p99)."
    return [
        (adds, "strong" if found.is_honest else "bad"),
        (_limit("events/s", found.events_limit), ""),
        (_limit("requests/s", found.requests_limit), ""),
    ]


def _added(point: Point) -> str:
    return f"{_ms(point.ttft_ms.p99)} ms to TTFT, {_ms(point.itl_ms.p99)} ms to ITL"


def _limit(unit: str, limit: Limit) -> str:
    from vllmperf.own_error import HONEST_MS

    if limit.per_s is None:
        return f"At no rate of {unit} that was tried did the client stay within {HONEST_MS:g} ms."
    why = STOPPED[limit.stopped_by].format(honest=HONEST_MS)
    return f"It measures up to {number(round(limit.per_s))} {unit} rightly: {why}."


def _tables(found: SelfTest) -> list[Table]:
    ladders = (("streams", found.streams), ("events/s", found.events), ("requests/s", found.requests))
    return [
        Table(f"{name}: added, ms", HEADS, tuple(_row(name, one) for one in points))
        for name, points in ladders
    ]


def _row(ladder: str, point: Point) -> Row:
    return Row(number(point.streams if ladder == "streams" else round(point.asked_per_s)), _cells(point))


def _cells(point: Point) -> tuple[str, ...]:
    times = (*point.ttft_ms, *point.itl_ms, point.lag_p99_ms)
    return (*map(_ms, times), share(point.shared))


def _ms(value: float | None) -> str:
    return NOTHING if value is None or not math.isfinite(value) else rough(value)


def _notes(found: SelfTest) -> list[Span]:
    late = ", ".join(f"{name} {rough(value)}" for name, value in found.timer_ms.items())
    notes: list[Span] = [
        (f"timer: 100 requests/s left late by {late} ms. The test took {found.took_s:.0f} s.", "dim")
    ]
    loads = cast("Sequence[float]", found.environment["load_average"])
    load, cores = loads[0], cast("int", found.environment["usable_cores"])
    if load > cores:
        busy = f"Other programs kept the machine busy (load average {load:.1f} on {cores} cores)"
        notes.append((f"{busy}: repeat the test when they are done.", "warning"))
    return notes
