"""Turns phases into a gapless row: sorts them, and names the time between them `unattributed`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vllmperf.starts.result import Phase


def fill(phases: Iterable[Phase], origin_ns: int | None, end_ns: int | None) -> tuple[Phase, ...]:
    """All phases by time, with an `unattributed` one for every gap between the critical ones from origin to end.

    A critical phase is cut to origin and end and loses what an earlier one already covers, so that the critical
    phases and `unattributed` add up to end − origin exactly. Phases without both ends (missing) come last.
    """
    spans = [(p.start_ns, p.end_ns, p) for p in phases if p.start_ns is not None and p.end_ns is not None]
    missing = [p for p in phases if p.start_ns is None or p.end_ns is None]
    row = [phase for _, _, phase in spans if not phase.critical]
    at = origin_ns
    for start, end, phase in sorted((s for s in spans if s[2].critical), key=lambda span: span[:2]):
        begin = start if at is None else max(start, at)
        stop = end if end_ns is None else min(end, end_ns)
        if stop < begin:
            continue
        if at is not None and begin > at:
            row.append(_gap(at, begin))
        row.append(replace(phase, start_ns=begin, end_ns=stop))
        at = stop
    if at is not None and end_ns is not None and end_ns > at:
        row.append(_gap(at, end_ns))
    return (*sorted(row, key=lambda p: (p.start_ns or 0, p.end_ns or 0)), *missing)


def _gap(start_ns: int, end_ns: int) -> Phase:
    return Phase("unattributed", start_ns, end_ns, source="remainder", resolution_s=None)
