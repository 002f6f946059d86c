"""Sums that the figures of any result must obey, whoever wrote it: for `vllmperf check`.

A figure is what was printed, with what its rounding leaves open; a sum is broken when no value within that, and within the
tolerance that its definition needs, satisfies it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vllmperf.metrics import bounds, entry_sums, load_sums
from vllmperf.metrics.figure_spans import (
    DOUBT,
    EXACT,
    TIMES,
    TPOT_TOLERANCE,
    Figures,
    Found,
    Span,
    Summary,
    after_first,
    agree,
    pair,
)
from vllmperf.metrics.shapes import mean_among, mean_below_highest, ordered, std_fits
from vllmperf.numbers import brief, percent


@dataclass(frozen=True, slots=True)
class Checked:
    """A sum that was looked at. status: "ok", "broken" (it cannot be), "doubt" (the figures are of something else than their
    names say), "unknown" (a figure is missing). left, right: the two sides in words."""

    name: str
    statement: str
    status: str
    left: str = ""
    right: str = ""
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """look: None where figures are missing. is_doubt: not impossible, but not what the names say."""

    name: str
    statement: str
    look: Callable[[Figures], Found | None]
    is_doubt: bool = False


def _checked(one: Sum, figures: Figures) -> Checked:
    found = one.look(figures)
    if found is None:
        return Checked(one.name, one.statement, "unknown")
    holds, left, right, meaning = found
    status = "ok" if holds is True else "doubt" if one.is_doubt or holds == DOUBT else "broken"
    return Checked(one.name, one.statement, status, left, right, "" if holds is True else meaning)


# ---- rates ----

RATES_TOLERANCE = {"guidellm": 0.05, "aiperf": 0.02}
"""guidellm divides by the time from the first start to the last end, and prints the time that it ran; aiperf by that of its whole
phase, and prints the time of the requests."""


def _tolerance(figures: Figures) -> float:
    return RATES_TOLERANCE.get(str(figures.summary["profile"]), EXACT)


def _rate(rate: str, unit: str, *counts: str) -> Callable[[Figures], Found | None]:
    def look(figures: Figures) -> Found | None:
        found = figures.all(rate, "duration_s", *counts)
        if found is None or found[1].high <= 0 or _is_trimmed(figures.summary):
            return None
        said, seconds, *parts = found
        total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        meaning = f"the rate is {percent(abs(said.middle / max((total / seconds).middle, 1e-12) - 1))} off"
        return pair(total / seconds, said, _tolerance(figures), unit, meaning + _twice(figures, rate, said))

    return look


def _is_trimmed(summary: Summary) -> bool:
    """Its rates are of a part of the run, its counts of all of it."""
    trim = summary.get("trim") or {}
    return bool(trim.get("warmup_s") or trim.get("drain_s"))


def _twice(figures: Figures, rate: str, said: Span) -> str:
    """guidellm 0.2 counts the prompt at the first token and again in what follows (its issue, fixed in 0.3.1)."""
    parts = figures.all("tokens.prompt", "tokens.output", "duration_s")
    if rate != "throughput.total_tokens_per_s" or parts is None:
        return ""
    prompt, output, seconds = parts
    twice = (prompt + prompt + output) / seconds
    return ": the prompt was counted twice, as guidellm 0.2 does" if agree(twice, said, 0.03) else ""


# ---- times ----


PARTS_TOLERANCE = 0.02
END_TOLERANCE, END_MS = 0.1, 5.0
"""Beyond PARTS_TOLERANCE E2EL may be longer than its parts: some clients count the time from the last token to the end."""


def _e2el_by_itl(figures: Figures) -> Found | None:
    """The sum of all gaps is the time after the first tokens: exact where each chunk holds one token, and all are known."""
    if figures.summary.get("gaps", {}).get("kept") in ("sample", "none"):
        return None
    means = figures.all("metrics.ttft_ms.mean", "metrics.itl_ms.mean", "metrics.e2el_ms.mean")
    after = after_first(figures)
    if means is None or after is None:
        return None
    ttft, itl, e2el = means
    chunks = after.middle * itl.middle / max((e2el - ttft).middle, 1e-12)
    joined = chunks > 1 and _tpot_says(figures, itl, chunks)
    parts = ttft + after * itl
    end = Span(0.0, END_TOLERANCE * e2el.high + END_MS)
    holds = agree(parts + end, e2el, PARTS_TOLERANCE) or (DOUBT if joined else False)
    why = JOINED.format(brief(chunks)) if joined else _shrunk(figures, chunks) or _wrong_gaps(chunks)
    return holds, f"{brief(parts.middle, 4)} ms", f"{brief(e2el.middle, 4)} ms", why


JOINED = (
    "a chunk held {} tokens in the mean, as TPOT says, too: ITL is a time between chunks and no time of a token; or tokens were "
    "counted by tokenizing the text again, as vLLM's client did up to 0.6"
)
JOINED_TOLERANCE = 0.1


def _tpot_says(figures: Figures, itl: Span, chunks: float) -> bool:
    """Whether the mean TPOT is shorter than the mean ITL by as much as the gaps are too long."""
    tpot = figures("metrics.tpot_ms.mean")
    return tpot is not None and tpot.high > 0 and agree(tpot * Span(chunks, chunks), itl, JOINED_TOLERANCE)


SHRUNK_TOLERANCE, LEAST_SHRUNK = 0.05, 1.15


def _shrunk(figures: Figures, chunks: float) -> str | None:
    """Where the means of TTFT and E2EL are both too small by what gaps and TPOT are too long: the sums were divided by more
    requests than they are of."""
    e2el, ttft = (f"metrics.{key}_ms" for key in ("e2el", "ttft"))
    found = figures.all(f"{ttft}.mean", f"{e2el}.mean", f"{ttft}.p50", f"{e2el}.p50", "metrics.tpot_ms.p50")
    after = after_first(figures)
    if found is None or after is None or chunks < LEAST_SHRUNK:
        return None
    (*means, ttft_p50, e2el_p50, tpot), factor = found, Span(chunks, chunks)
    pairs = [(means[0], ttft_p50), (means[1], e2el_p50), (means[1] - means[0], after * tpot)]
    if not all(agree(mean * factor, other, SHRUNK_TOLERANCE) for mean, other in pairs):
        return None
    done = int(figures.summary["requests"]["completed"])
    return (
        f"the means of TTFT and of E2EL are both {brief(1 / chunks)} of their medians, and E2EL less TTFT is as much of what "
        f"ITL, TPOT and the tokens give: these two means look like sums over about {round(done / chunks):,} of the "
        f"{done:,} requests, divided by all of them; the other figures agree without them"
    )


def _wrong_gaps(chunks: float) -> str:
    if chunks <= 1:
        return "time is missing from the gaps, or tokens from the count"
    return (
        f"the gaps take {brief(chunks)} times the time there is: TTFT, ITL, E2EL or the number of tokens is wrong, or a chunk "
        "held as many tokens"
    )


FEW_DOMINATE = 3.0


def _e2el_by_tpot(figures: Figures) -> Found | None:
    means = figures.all("metrics.ttft_ms.mean", "metrics.tpot_ms.mean", "metrics.e2el_ms.mean")
    after = after_first(figures)
    if means is None or after is None:
        return None
    ttft, tpot, e2el = means
    fitting = (e2el - ttft) / after
    median = figures("metrics.tpot_ms.p50")
    why = f"E2EL and TTFT leave {brief(fitting.middle, 4)} ms a token"
    if median is not None and tpot.middle > FEW_DOMINATE * median.middle:
        why += (
            f", as the median says ({brief(median.middle, 4)} ms): a few answers of two or three tokens make the mean; "
            "take the median"
        )
    return pair(ttft + after * tpot, e2el, TPOT_TOLERANCE, " ms", why)


def _tpot_and_itl(figures: Figures) -> Found | None:
    means = figures.all("metrics.itl_ms.mean", "metrics.tpot_ms.mean")
    if means is None or means[1].high <= 0:
        return None
    itl, tpot = means
    ratio = itl.middle / max(tpot.middle, 1e-12)
    why = (
        f"a chunk held about {brief(ratio)} tokens: ITL is a time between chunks (multi-step scheduling, speculative decoding, "
        "or a client that joins them), TPOT one of tokens"
        if ratio > 1
        else "the mean TPOT is made by a few short answers, or gaps of 0 ms stand among the ITL"
    )
    return pair(itl, tpot, TPOT_TOLERANCE, " ms", why)


def _longest(figures: Figures) -> Found | None:
    """No request lasts longer than the run, and nothing in a request."""
    duration, longest = figures("duration_s"), None
    for key in TIMES:
        row = figures.summary["metrics"].get(key) or {}
        highest = [name for name in ("mean", "p90", "p95", "p99", "p99.9", "max") if name in row]
        found = figures(f"metrics.{key}.{highest[-1]}") if highest else None
        seconds = found / Span(1000.0, 1000.0) if found else None
        if seconds and (longest is None or seconds.low > longest[1].low):
            longest = key.removesuffix("_ms").upper(), seconds
    if longest is None or duration is None:
        return None
    name, span = longest
    fits = span.low <= duration.high * (1 + EXACT)
    sides = f"{name} {brief(span.middle, 4)} s", f"{brief(duration.middle, 4)} s"
    return fits, *sides, f"{name} or the duration is wrong"


def _dominated(figures: Figures) -> Found | None:
    """TTFT is a part of E2EL, so each of its quantiles is at most that of E2EL."""
    ttft, e2el = (figures.summary["metrics"].get(key) or {} for key in ("ttft_ms", "e2el_ms"))
    both = [name for name in ttft if name in e2el and name not in ("n", "std")]
    for name in both:
        pair = figures.all(f"metrics.ttft_ms.{name}", f"metrics.e2el_ms.{name}")
        if pair and pair[0].low > pair[1].high * (1 + PARTS_TOLERANCE):
            left, right = (f"{name} {brief(span.middle, 4)} ms" for span in pair)
            return False, left, right, "the two metrics are of different requests, or one is wrong"
    return (True, "", "", "") if both else None


SUMS = (
    Sum("numbers", "figures are numbers of at least 0, and shares at most 1", bounds.numbers),
    Sum("counts", "there are no more requests than were asked for, and no times of none", bounds.counts),
    Sum(
        "request_rate",
        "requests/s = completed / duration",
        _rate("throughput.requests_per_s", "/s", "requests.completed"),
    ),
    Sum(
        "output_rate",
        "output tokens/s = output tokens / duration",
        _rate("throughput.output_tokens_per_s", " tok/s", "tokens.output"),
    ),
    Sum(
        "total_rate",
        "tokens/s = (prompt + output tokens) / duration",
        _rate("throughput.total_tokens_per_s", " tok/s", "tokens.prompt", "tokens.output"),
    ),
    Sum(
        "goodput",
        "goodput is a part of the requests/s",
        bounds.at_most(
            "goodput.requests_per_s",
            "throughput.requests_per_s",
            "/s",
            "a request that met objectives completed",
        ),
    ),
    Sum(
        "output_part",
        "output tokens/s are a part of all tokens/s",
        bounds.at_most(
            "throughput.output_tokens_per_s",
            "throughput.total_tokens_per_s",
            " tok/s",
            "one of the rates is wrong",
        ),
    ),
    Sum(
        "cached_part",
        "cached prompt tokens are a part of all prompt tokens",
        bounds.at_most(
            "tokens.cached", "tokens.prompt", " tokens", "a prompt has no more cached tokens than tokens"
        ),
    ),
    Sum(
        "peak_rate", "the busiest second has its share of the output tokens", bounds.peak_rate, is_doubt=True
    ),
    Sum("order", "quantiles ascend, and means lie among them", ordered),
    Sum("mean_bounds", "a mean is what its quantiles leave", mean_among),
    Sum("std", "a standard deviation fits mean, quantiles and extremes", std_fits),
    Sum("mean", "a mean is not above p99", mean_below_highest, is_doubt=True),
    Sum("parts", "TTFT is a part of E2EL at each quantile", _dominated),
    Sum("longest_part", "no time between tokens is longer than the longest request", bounds.longest_part),
    Sum("longest", "no request lasts longer than the run", _longest),
    Sum("e2el_itl", "E2EL = TTFT + (tokens − 1) × ITL", _e2el_by_itl),
    Sum("e2el_tpot", "E2EL = TTFT + (tokens − 1) × TPOT", _e2el_by_tpot),
    Sum("itl_tpot", "ITL = TPOT where a chunk holds a token", _tpot_and_itl, is_doubt=True),
    Sum("joined", "gaps are as long as tokens take", load_sums.joined, is_doubt=True),
    Sum("little", "in flight = requests/s × E2EL (Little's law)", load_sums.little),
    Sum(
        "in_flight",
        "no more requests are in flight than the peak, the limit and all of them",
        bounds.in_flight,
    ),
    Sum("little_peak", "requests/s × E2EL is no more than the peak in flight", bounds.little_peak),
    Sum("completed", "all requests that were asked for completed", load_sums.completed, is_doubt=True),
    Sum("offered", "the rate asked for is the rate served", load_sums.offered, is_doubt=True),
    Sum("prompt_length", "prompts are as long as asked", load_sums.prompt_length, is_doubt=True),
    Sum("output_length", "answers are as long as asked", load_sums.output_length, is_doubt=True),
    Sum("samples", "there are enough requests for a p99", load_sums.samples, is_doubt=True),
    Sum("not_zero", "what must be there is not 0", load_sums.not_zero),
    Sum("entries", "the file lists each request once in each array", entry_sums.lengths),
    Sum("recounted", "figures are those of the requests that the file lists", entry_sums.recounted),
)


def checked(figures: Figures, sums: Sequence[Sum] = SUMS) -> list[Checked]:
    """These sums, in their order."""
    return [_checked(one, figures) for one in sums]
