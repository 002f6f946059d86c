"""Sums that the figures of any result must obey, whoever wrote it: for `vllmperf check`.

A figure is what was printed, with what its rounding leaves open; a sum is broken when no value within that, and within the
tolerance that its definition needs, satisfies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from vllmperf.metrics.figure_spans import DOUBT, TIMES, Figures, Found, Span, Summary
from vllmperf.metrics.shapes import mean_among, std_fits
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


def checked(figures: Figures) -> list[Checked]:
    """Every sum, in the table's order."""
    return [_checked(one, figures) for one in SUMS]


def _checked(one: Sum, figures: Figures) -> Checked:
    found = one.look(figures)
    if found is None:
        return Checked(one.name, one.statement, "unknown")
    holds, left, right, meaning = found
    status = "ok" if holds is True else "doubt" if one.is_doubt or holds == DOUBT else "broken"
    return Checked(one.name, one.statement, status, left, right, "" if holds is True else meaning)


def agree(a: Span, b: Span, tolerance: float) -> bool:
    """Whether some value of a is within a share of some value of b."""
    return a.low * (1 - tolerance) <= b.high and b.low * (1 - tolerance) <= a.high


def _pair(a: Span, b: Span, tolerance: float, unit: str, meaning: str) -> Found:
    return agree(a, b, tolerance), f"{brief(a.middle, 4)}{unit}", f"{brief(b.middle, 4)}{unit}", meaning


# ---- rates ----

RATES_TOLERANCE = {"guidellm": 0.05, "aiperf": 0.02}
"""guidellm divides by the time from the first start to the last end, and prints the time that it ran; aiperf by that of its whole
phase, and prints the time of the requests."""
EXACT = 5e-4


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
        return _pair(total / seconds, said, _tolerance(figures), unit, meaning + _twice(figures, rate, said))

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


def _tokens_each(figures: Figures) -> Span | None:
    found = figures.all("tokens.output", "requests.completed")
    return found[0] / found[1] if found and found[1].low > 0 and found[0].high > 0 else None


def _after_first(figures: Figures) -> Span | None:
    """Tokens behind the first, a request in the mean."""
    each = _tokens_each(figures)
    return None if each is None or each.high <= 1 else each - Span(1.0, 1.0)


PARTS_TOLERANCE = 0.02
END_TOLERANCE, END_MS = 0.1, 5.0
"""Beyond PARTS_TOLERANCE E2EL may be longer than its parts: some clients count the time from the last token to the end."""


def _e2el_by_itl(figures: Figures) -> Found | None:
    """The sum of all gaps is the time after the first tokens: exact where each chunk holds one token, and all are known."""
    if figures.summary.get("gaps", {}).get("kept") in ("sample", "none"):
        return None
    means = figures.all("metrics.ttft_ms.mean", "metrics.itl_ms.mean", "metrics.e2el_ms.mean")
    after = _after_first(figures)
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
    after = _after_first(figures)
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


TPOT_TOLERANCE = 0.25
"""A mean over requests, each with the same weight: with answers of several lengths it may differ this much."""
FEW_DOMINATE = 3.0


def _e2el_by_tpot(figures: Figures) -> Found | None:
    means = figures.all("metrics.ttft_ms.mean", "metrics.tpot_ms.mean", "metrics.e2el_ms.mean")
    after = _after_first(figures)
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
    return _pair(ttft + after * tpot, e2el, TPOT_TOLERANCE, " ms", why)


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
    return _pair(itl, tpot, TPOT_TOLERANCE, " ms", why)


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


def _ordered(figures: Figures) -> Found | None:
    """Statistics of one metric: quantiles ascend, the mean is between the extremes and not below half the median."""
    seen = False
    for key, row in figures.summary["metrics"].items():
        spans = {name: span for name in row or () if (span := figures(f"metrics.{key}.{name}")) is not None}
        quantiles = sorted((name for name in spans if name[:1] == "p"), key=lambda name: float(name[1:]))
        order = [name for name in ("min", *quantiles, "max") if name in spans]
        pairs = [(a, b, 1.0) for a, b in pairwise(order)]
        if "mean" in spans:
            pairs += [("mean", "max", 1.0)] * ("max" in spans) + [("min", "mean", 1.0)] * ("min" in spans)
            pairs += [("p50", "mean", 0.5)] * ("p50" in spans)
        seen = seen or bool(pairs)
        for low, high, factor in pairs:
            if spans[low].low * factor > spans[high].high * (1 + EXACT):
                name, half = key.removesuffix("_ms").upper(), "" if factor == 1 else "half of "
                left = f"{name} {half}{low} {brief(spans[low].middle * factor, 4)} ms"
                return False, left, f"{high} {brief(spans[high].middle, 4)} ms", "no set of values has both"
    return (True, "", "", "") if seen else None


def _mean_below_highest(figures: Figures) -> Found | None:
    """A mean above p99 is made by less than a hundredth of the values."""
    seen = False
    for key, row in figures.summary["metrics"].items():
        found = figures.all(f"metrics.{key}.mean", f"metrics.{key}.p99") if row else None
        if found is None:
            continue
        seen = True
        mean, p99 = found
        if mean.low > p99.high:
            name = key.removesuffix("_ms").upper()
            why = "a few values of another kind make the mean, or the percentiles are rounded more coarsely than it"
            return False, f"{name} mean {brief(mean.middle, 4)} ms", f"p99 {brief(p99.middle, 4)} ms", why
    return (True, "", "", "") if seen else None


# ---- the load ----


def _e2el_s(figures: Figures) -> Span | None:
    """The mean, or what TTFT and TPOT make of it."""
    said = figures("metrics.e2el_ms.mean")
    if said is None:
        means, after = figures.all("metrics.ttft_ms.mean", "metrics.tpot_ms.mean"), _after_first(figures)
        if means is None or after is None or means[1].high <= 0:
            return None
        said = means[0] + after * means[1]
    return said / Span(1000.0, 1000.0)


LITTLE_TOLERANCE = 0.05


def _little(figures: Figures) -> Found | None:
    """Mean in flight = rate × mean time. Against the concurrency that is reported, else as a bound by the one asked for."""
    rate, time_s = figures("throughput.requests_per_s"), _e2el_s(figures)
    if rate is None or time_s is None:
        return None
    product, said, limit = rate * time_s, figures("in_flight.mean"), figures.plan("max_concurrency")
    tolerance = LITTLE_TOLERANCE if figures("metrics.e2el_ms.mean") else TPOT_TOLERANCE
    if said is not None and said.high > 0:
        return _pair(product, said, tolerance, " in flight", "a rate, a time or the concurrency is wrong")
    most = limit if limit is not None else figures.summary["requests"]["completed"]
    if not most:
        return None
    fits = product.low <= float(most) * (1 + tolerance)
    why = "more requests were in flight than there may be: a rate or a time is wrong"
    return fits, f"{brief(product.middle, 4)} in flight", f"at most {brief(float(most))}", why


OFFERED_TOLERANCE = 0.1


def _offered(figures: Figures) -> Found | None:
    """The rate that was asked for against the one that was served."""
    asked, served = figures.plan("request_rate"), figures("throughput.requests_per_s")
    if asked is None or served is None or asked <= 0:
        return None
    limit = figures.plan("max_concurrency")
    why = (
        f"the limit of {brief(limit)} in flight shaped the load, not the rate"
        if limit
        else "the server was over its capacity: TTFT and E2EL are times in a queue that grew until the last request was sent, "
        "and they say how many were sent"
    )
    holds = served.high >= asked * (1 - OFFERED_TOLERANCE)
    return holds, f"{brief(asked, 4)}/s asked", f"{brief(served.middle, 4)}/s served", why


LENGTH_TOLERANCE = 0.02


def _length(figures: Figures, asked: str, path: str, what: str, why: str) -> Found | None:
    wanted, found = figures.plan(asked), figures.all(path, "requests.completed")
    if wanted is None or found is None or found[1].high <= 0 or not figures.value(path):
        return None
    each = found[0] / found[1]
    return _pair(Span(wanted, wanted), each, LENGTH_TOLERANCE, f" {what} tokens", why)


def _prompt_length(figures: Figures) -> Found | None:
    why = "the load was another than asked: another tokenizer counted, or the data set decides"
    return _length(figures, "input_len", "tokens.prompt", "prompt", why)


def _output_length(figures: Figures) -> Found | None:
    why = "answers ended by themselves (no ignore_eos), or the limit was another: runs of two such loads do not compare"
    return _length(figures, "output_len", "tokens.output", "output", why)


def _completed(figures: Figures) -> Found | None:
    asked, done = figures.plan("num_prompts"), figures("requests.completed")
    if asked is None or done is None:
        return None
    why = "the others failed or were cut: the latencies are those of the rest"
    return done.middle == asked, f"{brief(asked, 6)} asked", f"{brief(done.middle, 6)} completed", why


def _not_zero(figures: Figures) -> Found | None:
    """Counts and times that cannot be nothing when requests completed."""
    done = figures("requests.completed")
    if done is None or done.high <= 0:
        return None
    paths = {
        "tokens.prompt": "prompt tokens",
        "tokens.output": "output tokens",
        "metrics.tpot_ms.mean": "time per token",
        "metrics.ttft_ms.mean": "TTFT",
    }
    each = _tokens_each(figures)
    if each is not None and each.high <= 1:
        del paths["metrics.tpot_ms.mean"]  # an answer of one token has none
    zero = [words for path, words in paths.items() if figures.value(path) == 0]
    why = (
        "nothing was counted: the client read no usage and had no tokenizer, so nothing is known of tokens and of times per "
        "token"
    )
    return not zero, ", ".join(zero) + " 0" if zero else "", "more than 0" if zero else "", why


ENOUGH_FOR_P99 = 100


def _samples(figures: Figures) -> Found | None:
    done = figures.value("requests.completed")
    has_p99 = any("p99" in (row or {}) for row in figures.summary["metrics"].values())
    if not done or not has_p99:
        return None
    why = "p99 is hardly more than the largest value, and two such runs differ by chance"
    return done >= ENOUGH_FOR_P99, f"{brief(done)} requests", f"{ENOUGH_FOR_P99} for p99", why


JOINED_BELOW = 0.1
"""A median gap below this part of the time per token."""


def _joined(figures: Figures) -> Found | None:
    found = figures.all("metrics.itl_ms.p50", "metrics.tpot_ms.p50")
    if found is None or found[1].middle <= 0:
        return None
    itl, tpot = found
    holds = itl.high >= JOINED_BELOW * tpot.low
    why = (
        "most chunks came in one read with others, and the client took the time between reading them: percentiles of ITL mean "
        "nothing here, its mean does"
    )
    return holds, f"median ITL {brief(itl.middle)} ms", f"median TPOT {brief(tpot.middle, 4)} ms", why


SUMS = (
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
    Sum("order", "quantiles ascend, and means lie among them", _ordered),
    Sum("mean_bounds", "a mean is what its quantiles leave", mean_among),
    Sum("std", "a standard deviation fits mean, quantiles and extremes", std_fits),
    Sum("mean", "a mean is not above p99", _mean_below_highest, is_doubt=True),
    Sum("parts", "TTFT is a part of E2EL at each quantile", _dominated),
    Sum("longest", "no request lasts longer than the run", _longest),
    Sum("e2el_itl", "E2EL = TTFT + (tokens − 1) × ITL", _e2el_by_itl),
    Sum("e2el_tpot", "E2EL = TTFT + (tokens − 1) × TPOT", _e2el_by_tpot),
    Sum("itl_tpot", "ITL = TPOT where a chunk holds a token", _tpot_and_itl, is_doubt=True),
    Sum("joined", "gaps are as long as tokens take", _joined, is_doubt=True),
    Sum("little", "in flight = requests/s × E2EL (Little's law)", _little),
    Sum("completed", "all requests that were asked for completed", _completed, is_doubt=True),
    Sum("offered", "the rate asked for is the rate served", _offered, is_doubt=True),
    Sum("prompt_length", "prompts are as long as asked", _prompt_length, is_doubt=True),
    Sum("output_length", "answers are as long as asked", _output_length, is_doubt=True),
    Sum("samples", "there are enough requests for a p99", _samples, is_doubt=True),
    Sum("not_zero", "what must be there is not 0", _not_zero),
)


def broken(found: list[Checked]) -> Iterator[Checked]:
    """Those that make a check fail."""
    return (one for one in found if one.status == "broken")
