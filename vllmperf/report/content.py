"""What a report says, before it is known how it will look: a function of the summary alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from vllmperf.errors import SettingError
from vllmperf.metrics.definitions import BY_NAME, FIGURES, METRICS
from vllmperf.metrics.entry import Metric
from vllmperf.metrics.failures import NO_FAILURES
from vllmperf.metrics.statistics import percentile_key
from vllmperf.metrics.threads import p99s
from vllmperf.numbers import (
    NOTHING,
    align,
    brief,
    clean,
    decimals,
    duration,
    fixed,
    number,
    percent,
    plural,
    rough,
    share,
)
from vllmperf.report import power, server_times, sessions, targets
from vllmperf.report.margins import intervals_words, is_beyond, lone, margin
from vllmperf.report.table import Row, Table
from vllmperf.report.words import (
    break_words,
    data_words,
    error_words,
    left_out,
    load_words,
    target_words,
    time_words,
    token_words,
    until_words,
)

Summary = Mapping[str, Any]

SHOWN_METRICS = tuple(metric.name for metric in METRICS if metric.is_shown)
REQUESTS = next(figure for figure in FIGURES if figure.name == "throughput.requests_per_s")
NEAR = 0.01
"""A rate that is off by no more than this share is the one asked for."""
SHOWN_PERCENTILES = (50.0, 90.0, 99.0)
FLAG_SHARED_ABOVE = 0.05
"""Above this share of gaps of unknown split the ITL percentiles are marked."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way to end. sample: what the server said, whole; hint: what to do about it."""

    name: str
    count: str
    share: str
    is_good: bool
    sample: str = ""
    hint: str = ""


class Report(NamedTuple):
    """facts, left_out (and what ended the run) and client_facts are (label, value) pairs, throughput (number, unit) pairs."""

    facts: tuple[tuple[str, str], ...]
    throughput: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]
    latency: Table
    times: Table
    targets: Table
    turns: Table
    outcomes: tuple[Outcome, ...]
    client: Table
    client_facts: tuple[tuple[str, str], ...]
    level: str
    verdict: str
    reasons: tuple[str, ...]


def report(
    summary: Summary,
    percentile_metrics: Sequence[str] | None = None,
    metric_percentiles: Sequence[float] | None = None,
) -> Report:
    """percentile_metrics: rows of the latency table by name, metric_percentiles: its columns. Left out,
    those of the plan, else the usual ones. UsageError names an unknown metric."""
    plan = summary["plan"]
    percentiles = metric_percentiles or plan.get("metric_percentiles") or SHOWN_PERCENTILES
    return Report(
        facts=_facts(summary),
        throughput=_throughput(summary),
        left_out=(*left_out(summary.get("trim")), *until_words(summary)),
        latency=_latency(summary, _shown(summary, percentile_metrics), [float(p) for p in percentiles]),
        times=server_times.table(summary),
        targets=targets.table(summary),
        turns=sessions.table(summary),
        outcomes=_outcomes(summary),
        client=_client(summary),
        client_facts=_client_facts(summary),
        level=summary["verdict"]["level"],
        verdict=VERDICTS[summary["verdict"]["level"]],
        reasons=tuple(summary["verdict"]["reasons"]),
    )


VERDICTS = {
    "trusted": "the client kept up, and its own error is far below what it measured",
    "caution": "read the numbers with this in mind",
    "untrusted": "do not rely on these numbers",
    "unknown": "the file does not say how well its client kept up",
}


def _facts(summary: Summary) -> tuple[tuple[str, str], ...]:
    plan = summary["plan"]
    facts = (
        ("target", target_words(plan)),
        ("model", clean(plan.get("model") or "")),
        ("load", load_words(plan)),
        ("data", data_words(plan)),
        ("sessions", sessions.line(summary)),
        ("time", time_words(summary["started_at"], summary["duration_s"])),
        ("breaks", break_words(summary.get("breaks") or ())),
        *power.facts(summary),
        ("profile", clean(summary["profile"])),
    )
    return tuple((label, value) for label, value in facts if value)


def _throughput(summary: Summary) -> tuple[tuple[str, str], ...]:
    """The numbers, and what stands behind each: its margin and its unit."""
    bounds = summary["throughput"].get("ci95") or {}
    found: list[tuple[str, str, str]] = []
    for figure in FIGURES:
        value = figure.of(summary)
        if figure.is_shown and value is not None:
            found.append((number(value), lone(value, bounds.get(figure.path[-1])), figure.unit))
    if found and found[0][2] == REQUESTS.unit:
        found[0] = (*found[0][:2], ", ".join([REQUESTS.unit, *_sent_words(summary)]))
    if (good := summary["goodput"]) and good["requests_per_s"] is not None:
        limits = ", ".join(f"{clean(name)} ≤ {limit:g} ms" for name, limit in good["objectives_ms"].items())
        margin = lone(good["requests_per_s"], (good.get("ci95") or {}).get("requests_per_s"))
        words = f"good requests/s ({share(good['share'])} met {limits})" if limits else "good requests/s"
        found.append((number(good["requests_per_s"]), margin, words))
    margins = align([margin for _, margin, _ in found]) if any(margin for _, margin, _ in found) else None
    if margins is None:
        return tuple((value, unit) for value, _, unit in found)
    return tuple((value, f"{margin} {unit}") for (value, _, unit), margin in zip(found, margins, strict=True))


def _sent_words(summary: Summary) -> list[str]:
    """sent 20.00/s as asked; sent 19.1/s on schedule (20 asked); sent 17.9/s of 20/s scheduled"""
    sent, scheduled = (summary["throughput"].get(f"{name}_per_s") for name in ("sent", "scheduled"))
    if sent is None or scheduled is None:
        return []
    if abs(sent / scheduled - 1) > NEAR:
        return [f"sent {number(sent)}/s of {number(scheduled)}/s scheduled"]
    asked = float(summary["plan"].get("request_rate") or "inf")
    if not math.isfinite(asked):
        return [f"sent {number(sent)}/s on schedule"]
    if abs(sent / asked - 1) <= NEAR:
        return [f"sent {number(sent)}/s as asked"]
    return [f"sent {number(sent)}/s on schedule ({brief(asked, 4)}/s asked)"]


# ---- latency ----


def _shown(summary: Summary, asked: Sequence[str] | None) -> list[Metric]:
    """Those asked for, without the ones that a closed loop cannot have; ITL per token where it
    says more than ITL."""
    metrics = [_metric(name) for name in asked or summary["plan"].get("percentile_metrics") or SHOWN_METRICS]
    if not summary["open_loop"]:
        metrics = [metric for metric in metrics if not metric.is_scheduled]
    itl = BY_NAME["itl"]
    if itl in metrics and BY_NAME["itl_token"] not in metrics and _brings_several_tokens(summary):
        metrics.insert(metrics.index(itl) + 1, BY_NAME["itl_token"])
    return metrics


def _brings_several_tokens(summary: Summary) -> bool:
    per_token, per_chunk = summary["metrics"].get("itl_token_ms"), summary["metrics"].get("itl_ms")
    return bool(per_token and per_chunk and per_token["mean"] < 0.99 * per_chunk["mean"])


def _metric(name: str) -> Metric:
    if name not in BY_NAME:
        raise SettingError(
            "there is no metric {name!r}: {percentile_metrics} takes {known}",
            name=clean(name),
            known=", ".join(BY_NAME),
        )
    return BY_NAME[name]


def _latency(summary: Summary, shown: Sequence[Metric], percentiles: Sequence[float]) -> Table:
    keys = ["mean", *map(percentile_key, percentiles)]
    flagged = (summary["gaps"]["shared_share"] or 0) > FLAG_SHARED_ABOVE
    if not summary["requests"]["completed"]:
        shown = []
    rows = [_latency_row(metric, summary["metrics"].get(metric.key), keys, flagged) for metric in shown]
    found = [row for metric in shown if (row := summary["metrics"].get(metric.key))]
    notes = [_footnote(summary, flagged), *intervals_words(found, keys)]
    bound = [key for key in keys if any((row.get("mlcommons") or {}).get(key) is not None for row in found)]
    if bound:
        rows = [
            _bounded(one, summary["metrics"].get(metric.key), bound)
            for one, metric in zip(rows, shown, strict=True)
        ]
        notes.append("≤: MLCommons' upper bound, true in 99 % of runs if requests were independent")
    heads = (*keys, *(f"{key} ≤" for key in bound), "count")
    return Table("Latency, ms", heads, tuple(rows), "\n".join(note for note in notes if note))


def _bounded(line: Row, row: Mapping[str, Any] | None, keys: Sequence[str]) -> Row:
    """The line with MLCommons' upper bounds before its count."""
    bounds = (row or {}).get("mlcommons") or {}
    places = decimals([row["mean"]]) if row else 0
    cells = (*line.cells[:-1], *(fixed(bounds.get(key), places) for key in keys), line.cells[-1])
    margins = (*line.margins[:-1], *("" for _ in keys), "") if line.margins else ()
    return line._replace(cells=cells, margins=margins)


def _latency_row(metric: Metric, row: Mapping[str, Any] | None, keys: Sequence[str], flagged: bool) -> Row:
    mark = " *" if flagged and metric.name in ("itl", "itl_token") else ""
    cells = _cells(row, keys, with_count=True)
    if row is None or not row.get("ci95"):
        return Row(metric.short + mark, cells)
    places = decimals([row["mean"]])
    hidden = {key for key in keys if is_beyond(row, key)}
    shown = [NOTHING if key in hidden else cell for key, cell in zip(keys, cells, strict=False)]
    margins = [
        "" if key in hidden or key not in row else margin(row[key], row["ci95"].get(key), places)
        for key in keys
    ]
    return Row(metric.short + mark, (*shown, cells[-1]), margins=(*margins, ""))


def _footnote(summary: Summary, flagged: bool) -> str:
    gaps, notes = summary["gaps"], []
    if flagged:
        notes.append(
            f"* {share(gaps['shared_share'])} of the gaps are even shares: several chunks came in one read"
        )
    if gaps.get("kept") == "sample":
        of = number(summary["requests"]["completed"])
        notes.append(
            f"ITL: the gaps of {number(gaps['requests'])} of {of} requests, a uniform sample (--keep-gaps sample)"
        )
    elif gaps["percentiles"] not in (None, "exact") and (gaps.get("kept") == "none" or not flagged):
        notes.append(f"percentiles of the {number(gaps['n'])} gaps are from a {gaps['percentiles']}")
    return "\n".join(notes)


def _cells(row: Mapping[str, Any] | None, keys: Sequence[str], with_count: bool) -> tuple[str, ...]:
    if row is None:
        return (*[NOTHING] * len(keys), *(["0"] if with_count else []))
    values = [row.get(key) for key in keys]
    places = decimals([row["mean"]])
    return (*[fixed(value, places) for value in values], *([number(row.get("n"))] if with_count else []))


# ---- outcomes ----


def _outcomes(summary: Summary) -> tuple[Outcome, ...]:
    counts, failures = summary["requests"]["outcomes"], summary["requests"]["failures"]
    ended = sum(counts.values())
    fine = [
        Outcome(name, number(counts[name]), share(counts[name] / ended), name == "completed")
        for name in NO_FAILURES
        if counts.get(name)
    ]
    failed = [_failure(failure, ended) for failure in failures]
    hints = [outcome.hint for outcome in failed]
    once = (
        outcome if outcome.hint not in hints[:i] else replace(outcome, hint="")
        for i, outcome in enumerate(failed)
    )
    return (*fine, *once)


def _failure(failure: Mapping[str, Any], ended: int) -> Outcome:
    status = failure["status"]
    return Outcome(
        name=failure["outcome"].replace("_", " ") + (f" {status}" if status else ""),
        count=number(failure["count"]),
        share=share(failure["count"] / ended),
        is_good=False,
        sample=_words_of(failure),
        hint=clean(failure["hint"] or ""),
    )


def _words_of(failure: Mapping[str, Any]) -> str:
    """What was said, of several things the commonest."""
    words = error_words(failure["sample"] or "")
    if not words and failure["status"]:
        words = f"{_phrase(failure['status'])} (nothing else was said)"
    others = failure["kinds"] - 1
    return f"{words} (and {plural(others, 'other message')}, in --csv)" if others > 0 else words


def _phrase(status: int) -> str:
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP {status}"


# ---- the client's own error ----

CLIENT_KEYS = ("p50", "p99", "max")
LAGS = (
    ("schedule_lag_ms", "schedule lag", "how late requests left"),
    ("client_lag_ms", "client lag", "from arrival to seen by us"),
    ("loop_ms", "loop time", "one turn of our loop"),
)


def _client(summary: Summary) -> Table:
    lags = [(summary["client"].get(key), label, note) for key, label, note in LAGS]
    if summary["plan"].get("max_concurrency"):
        lags.append((summary["metrics"]["slot_wait_ms"], "slot wait", "due, but at the limit"))
    rows = [Row(label, _cells(lag, CLIENT_KEYS, with_count=False), note) for lag, label, note in lags if lag]
    return Table("Client error, ms", CLIENT_KEYS, tuple(rows))


def _client_facts(summary: Summary) -> tuple[tuple[str, str], ...]:
    client = summary["client"]
    facts = (
        ("in flight", _in_flight_words(summary)),
        ("coalesced", _coalesced_words(client["coalesced_share"])),
        ("connections", _connection_words(summary)),
        ("threads", _thread_words(client)),
        ("CPU", _cpu_words(client["cpu_s"], summary["duration_s"])),
        ("server", server_times.line(summary)),
        ("tokens", token_words(summary)),
        ("prefix cache", _prefix_cache_words(summary.get("prefix_cache")) or sessions.cache_line(summary)),
        ("this machine", _machine_words(client.get("machine_adds"))),
    )
    return tuple((label, value) for label, value in facts if value)


def _prefix_cache_words(found: Mapping[str, Any] | None) -> str:
    """60 % asked, the prompts allow 59.4 %, seen 59.1 % (by the server's counters)"""
    if not found:
        return ""
    by = {"counters": " (by the server's counters)", "usage": " (by the usage of its answers)", None: ""}
    asked = "" if found["asked"] is None else f"{percent(found['asked'])} asked, "
    allowed = percent(found["allowed"])
    seen = "not seen" if found["seen"] is None else f"seen {percent(found['seen'])}"
    return f"{asked}the prompts allow {allowed}, {seen}{by[found['seen_by']]}"


def _machine_words(adds: Mapping[str, Any] | None) -> str:
    """adds 0.03 ms to TTFT and 0.01 ms to ITL at 100 streams (p99, selftest of 2026-11-30)"""
    if not adds:
        return ""
    ttft, itl = (f"{rough(adds[name]['p99'])} ms" for name in ("ttft_ms", "itl_ms"))
    where = f"at {number(adds['streams'])} streams (p99, selftest of {clean(adds['at'])[:10]})"
    return f"adds {ttft} to TTFT and {itl} to ITL {where}"


def _in_flight_words(summary: Summary) -> str:
    in_flight = summary["in_flight"]
    if in_flight["mean"] is None:
        return ""
    asked = f"{number(in_flight['asked'])} asked, " if in_flight["asked"] else ""
    held = in_flight["mean_sending"] if in_flight["asked"] and not summary["open_loop"] else None
    most = "" if in_flight["max"] is None else f", {number(in_flight['max'])} at most"
    held_words = f" ({number(held)} while sending)" if held is not None else ""
    return f"{asked}{number(in_flight['mean'])} on average{held_words}{most}"


def _coalesced_words(part: float | None) -> str:
    return "" if part is None else f"{share(part)} of the chunks shared a read with another"


def _connection_words(summary: Summary) -> str:
    """64 opened before the start, connect p50 0.2, max 5.0 ms, 0 silent retries"""
    client = summary["client"]
    if client["connections_opened"] is None:
        return ""
    opened, ahead = client["connections_opened"], client["connections_ahead"]
    when = "ahead of their requests" if summary["open_loop"] else "before the start"
    which = f" {when}" if 0 < ahead == opened else f", {number(ahead)} of them {when}" if ahead else ""
    parts = [f"{number(opened)} opened{which}", *_connect_words(client["connect_ms"])]
    return ", ".join([*parts, plural(client["silent_retries"], "silent retry", "silent retries")])


def _connect_words(row: Mapping[str, Any] | None) -> list[str]:
    return [f"connect p50 {rough(row['p50'])}, max {rough(row['max'])} ms"] if row else []


def _thread_words(client: Mapping[str, Any]) -> str:
    """2: client lag p99 0.02 to 0.31 ms (thread 1), loop time p99 0.1 to 0.2 ms (thread 1)"""
    ranges = [(label, p99s(client, key)) for key, label, _ in LAGS if key != "schedule_lag_ms"]
    words = ", ".join(f"{label} p99 {_thread_range(found)}" for label, found in ranges if found)
    return words and f"{number(client['threads'])}: {words}"


def _thread_range(found: Mapping[int, float]) -> str:
    last = max(found, key=found.__getitem__)
    return f"{rough(min(found.values()))} to {rough(found[last])} ms (thread {last})"


def _cpu_words(cpu_s: float | None, duration_s: float | None) -> str:
    if cpu_s is None:
        return ""
    part = f", {share(cpu_s / duration_s)} of one core" if duration_s and duration_s >= 1 else ""
    return f"{duration(cpu_s)}{part}"
