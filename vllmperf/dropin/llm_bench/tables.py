"""Locust's tables as text, to the character with its rounding; without it more digits in the same columns."""

from __future__ import annotations

import os
from collections.abc import Callable

from vllmperf.dropin.llm_bench.stats import Entry, Stats, locust_round, unrounded

PERCENTILES = (0.50, 0.66, 0.75, 0.80, 0.90, 0.95, 0.98, 0.99, 0.999, 0.9999, 1.0)
PERCENTILE_NAMES = ("50%", "66%", "75%", "80%", "90%", "95%", "98%", "99%", "99.9%", "99.99%", "100%")
MOST_NAME = 80


def name_width() -> int:
    """Of the column of names: 80, less on a narrow terminal."""
    try:
        return max(min(os.get_terminal_size().columns - 80, MOST_NAME), 0)
    except OSError:
        return MOST_NAME


def short(value: float) -> str:
    """At most six characters, with decimals where they fit."""
    for digits in (2, 1):
        text = f"{value:.{digits}f}"
        if len(text) <= 6:
            return text
    return f"{value:.0f}"


def whole(value: float) -> str:
    """As locust prints it: cut, not rounded."""
    return str(int(value))


def requests_table(stats: Stats, width: int, rounded: bool) -> list[str]:
    """How many, how many failed, how long."""
    names = width - 4
    bar = "|".join("-" * n for n in (8, names, 7, 13, 7, 7, 7, 7, 8, 11))
    head = (
        f"{'Type':<8} {'Name':<{names}} {'# reqs':>7} {'# fails':>12} |{'Avg':>7} {'Min':>7} {'Max':>7}"
        f"{'Med':>7} | {'req/s':>7} {'failures/s':>11}"
    )
    rows = [_request_row(stats, entry, names, rounded) for entry in stats.in_order()]
    return [head, bar, *rows, bar, _request_row(stats, stats.total, names, rounded)]


def _request_row(stats: Stats, entry: Entry, names: int, rounded: bool) -> str:
    number: Callable[[float], str] = whole if rounded else short
    failed = f"{entry.failures}({100 * entry.failed_share:.2f}%)"
    median = entry.median(locust_round if rounded else unrounded)
    return (
        f"{entry.method:<8} {entry.name:<{names}} {entry.count:7d} {failed:>12} |{number(entry.mean):>7} "
        f"{number(entry.least):>7} {number(entry.most):>7}{number(median):>7} | "
        f"{stats.rate(entry.count):7.2f} {stats.rate(entry.failures):11.2f}"
    )


def percentiles_table(stats: Stats, width: int, rounded: bool) -> list[str]:
    """The percentiles of each entry that has samples."""
    bar = "|".join("-" * n for n in (8, width, 8, *[6] * 11))
    title = f"Response time percentiles ({'approximated' if rounded else 'not rounded'})"
    head = f"{'Type':<8} {'Name':<{width}} {_cells((*PERCENTILE_NAMES, '# reqs'))}"
    rows = [_percentile_row(entry, width, rounded) for entry in stats.in_order() if entry.count]
    total = [_percentile_row(stats.total, width, rounded)] if stats.total.count else []
    return [title, head, bar, *rows, bar, *total]


def _percentile_row(entry: Entry, width: int, rounded: bool) -> str:
    number: Callable[[float], str] = whole if rounded else short
    rounding = locust_round if rounded else unrounded
    values = [number(entry.percentile(share, rounding)) for share in PERCENTILES]
    return f"{entry.method:<8} {entry.name:<{width}} {_cells((*values, str(entry.count)))}"


def _cells(texts: tuple[str, ...]) -> str:
    return f"{texts[0]:>8} " + " ".join(f"{text:>6}" for text in texts[1:])


def errors_table(stats: Stats, width: int) -> list[str]:
    """Each error and how often it came."""
    bar = f"{'-' * 18}|{'-' * (61 + width)}"
    rows = [
        f"{times:<18d} {f'{method} {name}: {error}':<100}"
        for (method, name, error), times in stats.errors.items()
    ]
    return ["Error report", f"{'# occurrences':<18} {'Error':<100}", bar, *rows, bar]
