"""Sums of `vllmperf check` over the load: Little's law, and what was asked for against what was served."""

from __future__ import annotations

from vllmperf.metrics.bounds import LITTLE_TOLERANCE
from vllmperf.metrics.figure_spans import TPOT_TOLERANCE, Figures, Found, Span, after_first, pair, tokens_each
from vllmperf.numbers import brief


def _e2el_s(figures: Figures) -> Span | None:
    """The mean, or what TTFT and TPOT make of it."""
    said = figures("metrics.e2el_ms.mean")
    if said is None:
        means, after = figures.all("metrics.ttft_ms.mean", "metrics.tpot_ms.mean"), after_first(figures)
        if means is None or after is None or means[1].high <= 0:
            return None
        said = means[0] + after * means[1]
    return said / Span(1000.0, 1000.0)


def little(figures: Figures) -> Found | None:
    """Mean in flight = rate × mean time. Against the concurrency that is reported, else as a bound by the one asked for."""
    rate, time_s = figures("throughput.requests_per_s"), _e2el_s(figures)
    if rate is None or time_s is None:
        return None
    product, said, limit = rate * time_s, figures("in_flight.mean"), figures.plan("max_concurrency")
    tolerance = LITTLE_TOLERANCE if figures("metrics.e2el_ms.mean") else TPOT_TOLERANCE
    if said is not None and said.high > 0:
        return pair(product, said, tolerance, " in flight", "a rate, a time or the concurrency is wrong")
    most = limit if limit is not None else figures.summary["requests"]["completed"]
    if not most:
        return None
    fits = product.low <= float(most) * (1 + tolerance)
    why = "more requests were in flight than there may be: a rate or a time is wrong"
    return fits, f"{brief(product.middle, 4)} in flight", f"at most {brief(float(most))}", why


OFFERED_TOLERANCE = 0.1


def offered(figures: Figures) -> Found | None:
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
    return pair(Span(wanted, wanted), each, LENGTH_TOLERANCE, f" {what} tokens", why)


def prompt_length(figures: Figures) -> Found | None:
    why = "the load was another than asked: another tokenizer counted, or the data set decides"
    return _length(figures, "input_len", "tokens.prompt", "prompt", why)


def output_length(figures: Figures) -> Found | None:
    why = "answers ended by themselves (no ignore_eos), or the limit was another: runs of two such loads do not compare"
    return _length(figures, "output_len", "tokens.output", "output", why)


def completed(figures: Figures) -> Found | None:
    asked, done = figures.plan("num_prompts"), figures("requests.completed")
    if asked is None or done is None:
        return None
    why = "the others failed or were cut: the latencies are those of the rest"
    return done.middle >= asked, f"{brief(asked, 6)} asked", f"{brief(done.middle, 6)} completed", why


OF_TIME = {"duration_s": "duration", "throughput.requests_per_s": "requests/s"}


def not_zero(figures: Figures) -> Found | None:
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
    each = tokens_each(figures)
    if each is not None and each.high <= 1:
        del paths["metrics.tpot_ms.mean"]  # an answer of one token has none
    zero = [words for path, words in paths.items() if figures.value(path) == 0]
    none = [words for path, words in OF_TIME.items() if figures.value(path) == 0]
    if none:
        return False, f"{', '.join(none)} 0", "more than 0", "requests completed, so that time passed"
    why = (
        "nothing was counted: the client read no usage and had no tokenizer, so nothing is known of tokens and of times per "
        "token"
    )
    return not zero, ", ".join(zero) + " 0" if zero else "", "more than 0" if zero else "", why


ENOUGH_FOR_P99 = 100


def samples(figures: Figures) -> Found | None:
    done = figures.value("requests.completed")
    has_p99 = any("p99" in (row or {}) for row in figures.summary["metrics"].values())
    if not done or not has_p99:
        return None
    why = "p99 is hardly more than the largest value, and two such runs differ by chance"
    return done >= ENOUGH_FOR_P99, f"{brief(done)} requests", f"{ENOUGH_FOR_P99} for p99", why


JOINED_BELOW = 0.1
"""A median gap below this part of the time per token."""


def joined(figures: Figures) -> Found | None:
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
