"""Several runs of one plan as people read them."""

from __future__ import annotations

from collections.abc import Iterator

from vllmperf.metrics.definitions import METRICS
from vllmperf.numbers import NOTHING, brief, clean, decimals, fixed, number, plural
from vllmperf.repeats import Number, Repeats
from vllmperf.report.margins import margin
from vllmperf.report.sheet import Sheet
from vllmperf.report.table import Row, Span, Table

STATISTICS = ("mean", "p50", "p90", "p99")


def sheet(found: Repeats) -> Sheet:
    """Means of the runs, and where the runs differ."""
    return Sheet([_head(found), *_tables(found), _notes(found)], width=80)


def _head(found: Repeats) -> list[Span]:
    completed = ", ".join(number(told.completed) for told in found.told)
    words = f"{plural(len(found), 'run')}, completed requests: {completed}"
    if not found.ended:
        return [(words, "strong")]
    return [(f"{words}; {found.asked} were asked for: {clean(found.ended)}", "warning")]


def _tables(found: Repeats) -> list[Table]:
    rates = [_rate_row(one) for one in found.numbers if one.quantity.metric is None]
    times = [
        _metric_row({one.quantity.statistic: one for one in found.numbers if one.quantity.metric is metric})
        for metric in METRICS
        if any(one.quantity.metric is metric for one in found.numbers)
    ]
    tables = (
        Table("Mean of the runs", ("mean", "lowest run", "highest run"), tuple(rates)),
        Table("Latency, ms", STATISTICS, tuple(times)),
    )
    return [one for one in tables if one.rows]


def _rate_row(one: Number) -> Row:
    places = decimals([one.mean])
    cells = (one.mean, min(one.values), max(one.values))
    label = clean(one.quantity.label) + _mark(one)
    return Row(label, tuple(fixed(value, places) for value in cells), margins=(_margin(one, places), "", ""))


def _metric_row(known: dict[str, Number]) -> Row:
    first = next(iter(known.values()))
    assert first.quantity.metric is not None
    places = decimals([first.mean])
    row = [known.get(name) for name in STATISTICS]
    cells = (NOTHING if one is None else fixed(one.mean, places) for one in row)
    margins = tuple("" if one is None else _margin(one, places) for one in row)
    mark = " *" if any(one.differs for one in known.values()) else ""
    return Row(first.quantity.metric.short + mark, tuple(cells), margins=margins)


def _mark(one: Number) -> str:
    return " *" if one.differs else ""


def _margin(one: Number, places: int) -> str:
    low, high = one.interval.low, one.interval.high
    return "" if low is None or high is None else margin(one.mean, (low, high), places)


def _notes(found: Repeats) -> list[Span]:
    notes: list[Span] = []
    if len(found) > 1:
        notes.append((f"±: 95 % interval of the mean over {len(found)} runs (Student's t)", "dim"))
    notes += [(_differs(one), "warning") for one in found.numbers if one.differs]
    notes += _warnings(found)
    return notes


def _differs(one: Number) -> str:
    values = ", ".join(brief(value, 4) for value in one.values)
    unit = "" if one.quantity.unit in one.quantity.label else f" {one.quantity.unit}"
    return (
        f"* {one.quantity.label}: the runs differ more than their own intervals allow ({values}{unit}; "
        f"p = {brief(one.p)}): something changed between them"
    )


def _warnings(found: Repeats) -> Iterator[Span]:
    """Why runs are not trusted: each rule once, in the words of the first run that it found something in."""
    for rule in dict.fromkeys(name for told in found.told for name in told.reasons):
        places = [place for place, told in enumerate(found.told, 1) if rule in told.reasons]
        first = found.told[places[0] - 1]
        runs = "run" if len(places) == 1 else "runs"
        yield f"{runs} {', '.join(map(str, places))}: {clean(first.reasons[rule])}", "warning"
