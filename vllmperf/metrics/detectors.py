"""Detectors of odd patterns in a run: each gives what it saw with numbers, or None. What the patterns mean stands in patterns.py.

A detector prefers silence: an ordinary run must show nothing, so each needs enough samples and a wide margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics import rules, streams, surroundings_rules
from vllmperf.metrics.view import Completed, Floats
from vllmperf.numbers import brief, duration, percent

NS_PER_MS = 1e6
Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """text: a sentence or two. figures: its numbers by name. likely: keys of the pattern's causes for which there is evidence,
    the strongest first, with what it is."""

    text: str
    figures: Mapping[str, float]
    likely: Mapping[str, str] = field(default_factory=dict)


# ---- two kinds of TTFT ----

FEWEST_TTFT = 40
LEAST_GROUP = 0.05
LEAST_RATIO = 1.5
MOST_BETWEEN = 0.05
"""Of the smaller group, how many may lie in the middle third between the two medians."""
LEAST_APART = 4.0
"""Means of log TTFT in standard deviations. A normal distribution cut at its middle gives 2.7, an even one 3.5."""
CLEAR_AUC = 0.8


def bimodal_ttft(done: Completed, _summary: Summary) -> Seen | None:
    """Two groups of times to first token with next to nothing between them."""
    ttft = done.between("sent_ns", "first_token_ns")
    known = ~np.isnan(ttft) & (ttft > 0)
    if known.sum() < FEWEST_TTFT:
        return None
    values = np.log(ttft[known])
    cut = _cut(np.sort(values))
    slow = values > cut
    n_slow = int(slow.sum())
    least = max(LEAST_GROUP * len(values), 5)
    if min(n_slow, len(values) - n_slow) < least or not _is_apart(values, slow):
        return None
    fast_ms, slow_ms = (float(np.median(ttft[known][group])) / NS_PER_MS for group in (~slow, slow))
    likely = {name: words for name, words in _evidence(done, known, slow) if words}
    text = (
        f"TTFT has two levels: {percent(1 - n_slow / len(values))} of the requests take about {brief(fast_ms)} ms, "
        f"{percent(n_slow / len(values))} about {brief(slow_ms)} ms (medians), and next to none lie between"
    )
    return Seen(text, {"fast_ms": fast_ms, "slow_ms": slow_ms, "slow_share": n_slow / len(values)}, likely)


def _cut(ordered: Floats) -> float:
    """Where the variance between two groups is largest (Otsu)."""
    n = len(ordered)
    left = np.arange(1, n)
    sums = np.cumsum(ordered)
    means_left, means_right = sums[:-1] / left, (sums[-1] - sums[:-1]) / (n - left)
    best = int(np.argmax(left * (n - left) * (means_left - means_right) ** 2))
    return float(ordered[best] + ordered[best + 1]) / 2


def _is_apart(values: Floats, slow: NDArray[np.bool_]) -> bool:
    low, high = values[~slow], values[slow]
    a, b = float(np.median(low)), float(np.median(high))
    between = ((values > a + (b - a) / 3) & (values < b - (b - a) / 3)).sum()
    spread = float(np.sqrt((low.var() + high.var()) / 2))
    is_far = b - a >= np.log(LEAST_RATIO) and high.mean() - low.mean() >= LEAST_APART * spread
    return bool(is_far and between <= MOST_BETWEEN * min(len(low), len(high)))


def _evidence(done: Completed, known: NDArray[np.bool_], slow: NDArray[np.bool_]) -> list[tuple[str, str]]:
    """What the slow requests have in common, by the chance that a slow one has more of it than a fast one."""
    rows = done.requests[known]
    sent = rows["sent_ns"]
    waiting = streams.between(sent, done.requests["first_token_ns"][known], sent.astype(np.float64))
    facts = {
        "prompts": ("longer prompts", done.field("prompt_tokens")[known]),
        "cache": ("fewer prompt tokens from the cache", -done.field("cached_tokens")[known]),
        "connections": (
            "a connection of their own to open",
            (rows["connected_ns"] != _engine.NONE).astype(np.float64),
        ),
        "start": ("an early place in the run", -sent.astype(np.float64)),
        "queue": ("more requests before them without a first token", waiting.astype(np.float64)),
    }
    found = [(name, words, _auc(values[slow], values[~slow])) for name, (words, values) in facts.items()]
    found = [one for one in found if one[2] >= CLEAR_AUC]
    found.sort(key=lambda one: -one[2])
    return [
        (name, f"the slow ones have {words}, in {percent(auc)} of all pairs") for name, words, auc in found
    ]


def _auc(a: Floats, b: Floats) -> float:
    """The chance that a value of a is above one of b; half where nothing is known."""
    if np.isnan(a).any() or np.isnan(b).any() or len(a) == 0 or len(b) == 0:
        return 0.5
    ordered = np.sort(b)
    below, to = (np.searchsorted(ordered, a, side=side) for side in ("left", "right"))
    return float((below + to).mean()) / 2 / len(b)


# ---- stalls ----

STALL_GAPS = 5.0
"""A gap this many times the mean gap, and this long, is a stall."""
STALL_NS = 20 * NS_PER_MS
FEWEST_STALLS = 5
REGULAR = 0.15
SHARED = 0.8
"""Of the streams that got tokens at that moment."""


@dataclass(frozen=True, slots=True)
class Stalls:
    """Stalls that overlap are one. at_ns: their ends; streams, open_streams: that stood still, that got tokens then."""

    at_ns: Floats
    length_ns: Floats
    streams: Floats
    open_streams: Floats


def _stalls(done: Completed) -> Stalls | None:
    gaps = streams.gaps(done)
    if len(gaps.ns) == 0:
        return None
    long = gaps.ns > max(STALL_GAPS * float(gaps.ns.mean()), STALL_NS)
    if long.sum() < FEWEST_STALLS:
        return None
    order = np.argsort(gaps.end_ns[long] - gaps.ns[long])
    begin, end = (gaps.end_ns[long] - gaps.ns[long])[order], gaps.end_ns[long][order]
    latest = np.maximum.accumulate(end)
    first = np.concatenate([[True], begin[1:] > latest[:-1]])
    at = np.flatnonzero(first)
    middle = np.array([(a + b) / 2 for a, b in zip(begin[at], np.maximum.reduceat(end, at), strict=True)])
    return Stalls(
        at_ns=middle,
        length_ns=np.maximum.reduceat((end - begin), at),
        streams=np.diff(np.append(at, len(begin))).astype(np.float64),
        open_streams=streams.between(*streams.streaming_with_gaps(done), middle).astype(np.float64),
    )


def periodic_stalls(done: Completed, _summary: Summary) -> Seen | None:
    """Stalls at equal distances."""
    found = _stalls(done)
    if found is None or len(found.at_ns) < FEWEST_STALLS + 1:
        return None
    apart = np.diff(found.at_ns)
    period = float(np.median(apart))
    times = np.maximum(np.round(apart / period), 1)
    is_regular = np.abs(apart / times / period - 1) < REGULAR
    if is_regular.mean() < 0.9 or (times == 1).mean() < 0.75:
        return None
    share = float((found.streams / np.maximum(found.open_streams, 1)).mean())
    length = float(np.median(found.length_ns))
    text = (
        f"tokens stop every {duration(period / 1e9)} for about {brief(length / NS_PER_MS)} ms: {len(found.at_ns)} times, in "
        f"{percent(min(share, 1.0))} of the streams that were getting tokens"
    )
    figures = {
        "period_s": period / 1e9,
        "length_ms": length / NS_PER_MS,
        "times": float(len(found.at_ns)),
        "stream_share": share,
    }
    return Seen(text, figures, {"server": "all streams stop together"} if share >= SHARED else {})


def lone_stalls(done: Completed, summary: Summary) -> Seen | None:
    """Single streams that stop while the others go on."""
    found = _stalls(done)
    if found is None or periodic_stalls(done, summary) is not None:
        return None
    lone = (found.streams <= np.maximum(0.2 * found.open_streams, 1)) & (found.open_streams >= 4)
    if lone.sum() < FEWEST_STALLS:
        return None
    length = float(np.median(found.length_ns[lone]))
    preempted = (summary.get("server") or {}).get("preemptions")
    text = (
        f"{int(lone.sum())} times a stream got no token for about {brief(length / NS_PER_MS)} ms (median) while the others "
        "went on"
    )
    likely = {"preemption": f"the server counted {int(preempted)} preemptions"} if preempted else {}
    return Seen(text, {"times": float(lone.sum()), "length_ms": length / NS_PER_MS}, likely)


# ---- the batch ----

FEWEST_AT_BATCH = 20
FEWEST_BATCHES = 6
STEP = 0.1
OVER_OTHERS = 5.0


def itl_steps(done: Completed, _summary: Summary) -> Seen | None:
    """ITL that jumps between two numbers of streams and hardly rises elsewhere."""
    gaps = streams.gaps(done)
    if len(gaps.ns) == 0:
        return None
    batch = streams.between(*streams.streaming(done), gaps.end_ns - gaps.ns / 2)
    sizes = [size for size in np.unique(batch).tolist() if (batch == size).sum() >= FEWEST_AT_BATCH]
    if len(sizes) < FEWEST_BATCHES:
        return None
    levels = np.array([np.median(gaps.ns[batch == size]) for size in sizes])
    rises = np.diff(levels)
    at = int(np.argmax(rises))
    others = np.abs(np.delete(rises, at))
    is_step = rises[at] >= STEP * levels[at] and rises[at] >= OVER_OTHERS * max(
        float(np.median(others)), 1e-9
    )
    is_level = levels[: at + 1].max() < levels[at + 1 :].min() and rises[at] >= others.max() * 1.5
    if not (is_step and is_level):
        return None
    below, above = float(levels[at]) / NS_PER_MS, float(levels[at + 1]) / NS_PER_MS
    text = (
        f"ITL jumps with the number of streams: {brief(below)} ms up to {sizes[at]} of them, {brief(above)} ms from "
        f"{sizes[at + 1]} on (medians), {percent(above / below - 1)} more"
    )
    return Seen(
        text, {"below_ms": below, "above_ms": above, "up_to": float(sizes[at]), "from": float(sizes[at + 1])}
    )


FULL_SHARE = 0.5
WAITS_LONGER = 3.0
FEWEST_EACH = 3


def first_token_plateau(done: Completed, _summary: Summary) -> Seen | None:
    """So many streams get tokens at once and never more: a first token comes when another answer has ended."""
    requests = done.whole.requests  # with the first ones: they found a place
    rows = requests[requests["first_token_ns"] != _engine.NONE]
    if len(rows) < FEWEST_TTFT:
        return None
    sent, first, last = rows["sent_ns"], rows["first_token_ns"], rows["last_token_ns"]
    moments = np.sort(np.concatenate([sent, first, last])).astype(np.float64)
    middle, lengths = (moments[1:] + moments[:-1]) / 2, np.diff(moments)
    busy, waiting = streams.between(first, last, middle), streams.between(sent, first, middle)
    most = int(busy.max())
    someone = waiting > 0
    if most < 2 or lengths[someone].sum() <= 0:
        return None
    full = float(lengths[someone & (busy >= most - 1)].sum() / lengths[someone].sum())
    ttft = (first - sent) / NS_PER_MS
    was_full = _before(sent, last) >= most
    if full < FULL_SHARE or min(was_full.sum(), (~was_full).sum()) < FEWEST_EACH:
        return None
    free_ms, full_ms = float(np.median(ttft[~was_full])), float(np.median(ttft[was_full]))
    if full_ms < WAITS_LONGER * free_ms:
        return None
    in_flight = int(streams.between(sent, last, middle).max())
    text = (
        f"never more than {most} streams get tokens at once, though up to {in_flight} requests are in flight: one that is sent "
        f"when {most} are before it waits {brief(full_ms)} ms for its first token, another {brief(free_ms)} ms (medians)"
    )
    return Seen(
        text, {"streams": float(most), "in_flight": float(in_flight), "full_ms": full_ms, "free_ms": free_ms}
    )


def _before(sent: streams.Ints, last: streams.Ints) -> streams.Ints:
    """How many requests were in flight when each was sent. Of those sent at one moment, the later ones in the file see the
    earlier."""
    rank = np.empty(len(sent), dtype=np.int64)
    rank[np.argsort(sent, kind="stable")] = np.arange(len(sent))
    before: streams.Ints = rank - np.searchsorted(np.sort(last), sent, side="left")
    return before


# ---- client and server ----

NEIGHBOURS = 0.5
"""Cores that other processes used."""


def client_bound(_done: Completed, summary: Summary) -> Seen | None:
    """The client was late, and why."""
    lag, loop = rules.client_lag(summary) or 0.0, rules.loop_time(summary) or 0.0
    cpu, stops = surroundings_rules.client_cpu(summary) or 0.0, surroundings_rules.throttled(summary) or 0.0
    if lag <= 0.5 and loop <= 1.0 and cpu <= 0.8 and stops <= 0.01:
        return None
    machine = summary.get("machine") or {}
    others, steal = machine.get("others_cores") or 0.0, machine.get("steal_share") or 0.0
    evidence = {
        "quota": (stops > 0.01, f"its control group stopped it in {percent(stops)} of the periods"),
        "steal": (steal > 0.05, f"{percent(steal)} of the CPU time went to other virtual machines"),
        "threads": (cpu > 0.8, f"its threads used {percent(cpu)} of their time"),
        "neighbours": (others > NEIGHBOURS, f"other processes used {brief(others)} cores"),
    }
    lag_ms = (summary["client"].get("client_lag_ms") or {}).get("p99")
    text = (
        f"the client saw chunks up to {brief(lag_ms)} ms (p99) after they had arrived, {percent(lag)} of the typical gap; its "
        f"threads used {percent(cpu)} of their time"
    )
    figures = {
        "lag_in_gaps": lag,
        "loop_in_gaps": loop,
        "cpu_share": cpu,
        "throttled_share": stops,
        "others_cores": others,
    }
    return Seen(text, figures, {name: words for name, (is_so, words) in evidence.items() if is_so})


def preemptions(_done: Completed, summary: Summary) -> Seen | None:
    """By the server's counter."""
    server = summary.get("server") or {}
    count, requests = server.get("preemptions"), server.get("requests")
    if not count or not requests:
        return None
    text = (
        f"the server preempted {int(count):,} times in {int(requests):,} requests: it dropped a sequence's KV "
        f"cache and computed it "
        "again"
    )
    return Seen(text, {"preemptions": float(count), "each": count / requests})


HITS = 0.1


def prefix_cache_hits(done: Completed, summary: Summary) -> Seen | None:
    """By usage where the server tells it there, else by its counters. Those that --prefix-hit-rate asks for are no surprise, nor
    are those of later turns."""
    if summary.get("sessions"):
        return None
    cached, prompt = done.field("cached_tokens"), done.field("prompt_tokens")
    told = ~np.isnan(cached) & (prompt > 0)
    server = summary.get("server") or {}
    if told.any():
        share, who = float(cached[told].sum() / prompt[told].sum()), "by the usage of the answers"
    elif server.get("prefix_queries"):
        share, who = float(server["prefix_hits"] / server["prefix_queries"]), "by the server's counters"
    else:
        return None
    asked = (summary.get("prefix_cache") or {}).get("asked") or 0.0
    if share - asked < HITS:
        return None
    text = f"{percent(share)} of the prompt tokens came from the server's prefix cache, {who}: TTFT is of the others alone"
    return Seen(text, {"share": share})
