"""Where a request's time went, as a table; what the server's page of metrics says of it, as a line. Of the summary alone."""

from collections.abc import Mapping
from typing import Any

from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.server_times import PARTS
from vllmperf.numbers import NOTHING, brief, decimals, fixed, number, share
from vllmperf.report.table import Row, Table

Summary = Mapping[str, Any]

KEYS = ("p50", "p90", "p99")
OUTSIDE = (("front end", "front_end_ms"), ("network", "network_ms"))


def table(summary: Summary) -> Table:
    """The parts of the requests whose answers tell them, in their order; no rows without any."""
    times = summary.get("server_times") or {}
    split = times.get("split_ms")
    title, heads = "Where time went, ms", ("mean", "share", *KEYS)
    if not split:
        return Table("", heads, ())
    rows = [_row(summary, split, name) for name in (*PARTS, "e2el") if split[name] is not None]
    return Table(title, heads, tuple(rows), _footnote(times))


def _row(summary: Summary, split: Mapping[str, float], name: str) -> Row:
    metric = BY_NAME[name]
    found = summary["metrics"].get(metric.key) or {}
    places = decimals([split[name]])
    part = share(split[name] / split["e2el"]) if split["e2el"] and name != "client_wait" else NOTHING
    return Row(
        metric.short, (fixed(split[name], places), part, *(fixed(found.get(key), places) for key in KEYS))
    )


def _footnote(times: Mapping[str, Any]) -> str:
    words = []
    if times["requests"] < times["of"]:
        words.append(f"of {number(times['requests'])} requests whose answers tell their times")
    means = times["means"] or {}
    if (front_end := means.get("front_end_ms")) is not None:
        words.append(_front_end(_number(front_end), means["requests"], times["of"]))
    return "; ".join(words)


def _front_end(took_ms: str, seen: float, counted: int) -> str:
    """The page of metrics knows of no warm-up: its mean is one of all requests."""
    if seen == counted:
        return f"of network and front end, {took_ms} ms are the server's front end, by /metrics"
    return f"the server's front end took {took_ms} ms, by /metrics, the mean of all {number(seen)} requests, warm-up included"


def line(summary: Summary) -> str:
    """queue 3.1, prefill 48.2, decode 610.3 ms; front end 1.2, network 0.6 ms (means of 200 requests, by /metrics)"""
    times = summary.get("server_times") or {}
    means = times.get("means")
    if not means or times.get("split_ms"):
        return ""
    engine = ", ".join(f"{name} {_number(means[f'{name}_ms'])}" for name in ("queue", "prefill", "decode"))
    known = [f"{label} {_number(means[key])}" for label, key in OUTSIDE if means[key] is not None]
    outside = f"; {', '.join(known)} ms" if known else ""
    return f"{engine} ms{outside} (means of {number(means['requests'])} requests, by /metrics)"


def _number(value: float | None) -> str:
    return NOTHING if value is None else brief(value)
