"""Sessions and turns of a run with conversations, as a table and a line. Of the summary alone."""

from collections.abc import Mapping
from typing import Any

from vllmperf.numbers import NOTHING, number, percent, plural, rough
from vllmperf.report.table import Row, Table

KEYS = ("p50", "p90", "p99")
HEADS = ("requests", "prompt tokens", "cached", *KEYS)


def table(summary: Mapping[str, Any]) -> Table:
    """The first turn and the later ones; no rows for requests that are no turns."""
    found = summary.get("sessions")
    rows = [] if not found else [_row("first turn", found["first"])]
    if found and found["later"]["requests"]:
        rows.append(_row("later turns", found["later"]))
    return Table("TTFT by turn, ms", HEADS, tuple(rows))


def _row(label: str, turns: Mapping[str, Any]) -> Row:
    times = [(turns["ttft_ms"] or {}).get(key) for key in KEYS]
    tokens, cached = turns["prompt_tokens"], turns["cached_share"]
    cells = (
        number(turns["requests"]),
        NOTHING if tokens is None else number(tokens),
        NOTHING if cached is None else percent(cached),
        *(NOTHING if time is None else rough(time) for time in times),
    )
    return Row(label, cells)


def cache_line(summary: Mapping[str, Any]) -> str:
    """held 45.2 % of the prompt tokens of all turns (by the server's counters)"""
    server = summary.get("server") or {}
    if not summary.get("sessions") or not server.get("prefix_queries"):
        return ""
    held = percent((server["prefix_hits"] or 0) / server["prefix_queries"])
    return f"held {held} of the prompt tokens of all turns (by the server's counters)"


def line(summary: Mapping[str, Any]) -> str:
    """10 begun: 8 finished, 1 ended by a failed answer, 1 unfinished at the end of the run; 37 turns, each 1.2 ms after …"""
    found = summary.get("sessions")
    if not found:
        return ""
    ends = [f"{number(found['finished'])} finished"]
    if found["failed"]:
        ends.append(f"{number(found['failed'])} ended by a failed answer")
    if found["unfinished"]:
        ends.append(f"{number(found['unfinished'])} unfinished at the end of the run")
    words = f"{number(found['begun'])} begun: {', '.join(ends)}; {plural(found['turns'], 'turn')}"
    between = found["turnaround_ms"]
    if not between:
        return words
    think = " and the think time" if summary["plan"].get("think_time") else ""
    return f"{words}; the next one leaves {rough(between['p50'])} ms (p50) after an answer{think}"
