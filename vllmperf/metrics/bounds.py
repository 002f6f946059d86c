"""Sums of `vllmperf check` over counts, shares and peaks: what is a part of something is no more than it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from vllmperf.metrics.definitions import FIGURES
from vllmperf.metrics.figure_spans import DOUBT, TIMES, Figures, Found, Span
from vllmperf.numbers import brief, measured

NEAR = 1e-3
"""Two figures of one file may be computed from times that differ by so much."""
LONGEST = 30
OF_REQUESTS = ("ttft_ms", "tpot_ms", "e2el_ms")
"""Metrics with at most one value a request."""


def at_most(part: str, whole: str, unit: str, why: str) -> Callable[[Figures], Found | None]:
    """Both by their path in a summary."""

    def check(figures: Figures) -> Found | None:
        low, high = figures(part), figures(whole)
        return None if low is None or high is None else _at_most(low, high, unit, why)

    return check


def _at_most(part: Span, whole: Span, unit: str, why: str, tolerance: float = NEAR) -> Found:
    holds = part.low <= whole.high * (1 + tolerance)
    return holds, f"{brief(part.middle, 6)}{unit}", f"at most {brief(whole.middle, 6)}", why


def _figures(figures: Figures) -> Iterator[tuple[str, str, object]]:
    """Path, label and value of what may not be negative, as it stands there."""
    for figure in FIGURES:
        yield figure.name, figure.label, figures.raw(figure.name)
    for key, row in figures.summary["metrics"].items():
        for name, value in (row or {}).items() if key in TIMES else ():
            yield f"metrics.{key}.{name}", f"{key.removesuffix('_ms').upper()} {name}", value


def numbers(figures: Figures) -> Found | None:
    """Times, counts and rates are numbers of at least 0, and shares at most 1."""
    shares = {figure.name for figure in FIGURES if figure.unit == "share"}
    seen = False
    for path, label, value in _figures(figures):
        if not isinstance(value, str | bool | int | float):
            continue
        seen, number = True, measured(value)
        if number is None or not 0 <= number <= (1 + NEAR if path in shares else math.inf):
            right = "from 0 to 1" if path in shares else "a number of at least 0"
            return (
                False,
                f"{label} {_cut(value)}",
                right,
                "a file of a run that was measured has no such value",
            )
    return (True, "", "", "") if seen else None


def _cut(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _asked(figures: Figures) -> float | None:
    """Requests that a plan names. Our own plan counts conversations there, where it has some."""
    return None if figures.plan("sessions") else figures.plan("num_prompts")


def counts(figures: Figures) -> Found | None:
    """Of requests: no more than were asked for, no more values than requests, and no times without one."""
    done, rest = figures.value("requests.completed"), figures.value("requests.not_completed") or 0.0
    if done is None:
        return None
    asked, sent = _asked(figures), figures.value("requests.sent")
    counted = figures.value("tokens.output") is not None  # else nobody said how many requests completed
    if asked is not None and done + rest > asked:
        said = f"{brief(done, 6)} completed and {brief(rest, 6)} failed"
        return False, said, f"{brief(asked, 6)} asked", "more requests than were asked for: a count is wrong"
    if sent is not None and done > sent:
        why = "more requests completed than were sent: a count is wrong"
        return False, f"{brief(done, 6)} completed", f"{brief(sent, 6)} sent", why
    has_counts = asked is not None or sent is not None
    for key in OF_REQUESTS:
        name, n = key.removesuffix("_ms").upper(), figures.value(f"metrics.{key}.n")
        has_counts = has_counts or n is not None
        if n is not None and n > done:
            why = "a request has one such time: requests or values were left out or counted twice"
            return False, f"{brief(n, 6)} values of {name}", f"{brief(done, 6)} completed requests", why
        if not done and counted and figures.value(f"metrics.{key}.mean"):
            return False, f"{name} above 0", "0 completed requests", "times of no request: a count is wrong"
    return (True, "", "", "") if has_counts else None


LITTLE_TOLERANCE = 0.05


def in_flight(figures: Figures) -> Found | None:
    """Mean and peak of the requests in flight against each other, the limit and the number of requests."""
    mean, peak = figures("in_flight.mean"), figures("in_flight.max")
    limit, asked = figures.plan("max_concurrency"), _asked(figures)
    counted = figures.all("requests.completed", "requests.not_completed")
    most = max(sum(one.high for one in counted), asked or 0.0) if counted else asked
    bounds = []
    if mean is not None and peak is not None and peak.high > 0:
        bounds.append((mean, peak, " in flight in the mean", "the mean is above the peak"))
    if mean is not None and limit:
        why = "the mean is above the limit of requests in flight"
        bounds.append((mean, Span(limit, limit), " in flight in the mean", why))
    for what, words in ((mean, " in flight in the mean"), (peak, " in flight at once")):
        if what is not None and most:
            bounds.append((what, Span(most, most), words, "there are no more requests than that"))
    found = [_at_most(*bound, LITTLE_TOLERANCE) for bound in bounds]
    return next((one for one in found if one[0] is not True), found[0] if found else None)


def peak_rate(figures: Figures) -> Found | None:
    """The busiest second holds no fewer tokens than the mean of all seconds, nor more than all."""
    found = figures.all("throughput.peak_output_tokens_per_s", "tokens.output", "duration_s")
    if found is None or found[0].high <= 0:
        return None
    peak, tokens, seconds = found
    least = tokens.low / max(math.ceil(seconds.high), 1)
    if peak.high * (1 + NEAR) < least:
        why = "the peak counts chunks, of which each held several tokens, or a figure is wrong"
        return (
            DOUBT,
            f"{brief(peak.middle, 6)} tokens",
            f"at least {brief(least, 6)} in the busiest second",
            why,
        )
    why = "the peak counts chunks without a token, or the tokens were counted by tokenizing the text again"
    return _at_most(peak, tokens, " tokens in the busiest second", why)


def longest_part(figures: Figures) -> Found | None:
    """No time between tokens is longer than the longest request."""
    whole = figures("metrics.e2el_ms.max")
    found = [(key, figures(f"metrics.{key}.max")) for key in ("itl_ms", "tpot_ms")]
    bounds = [
        _at_most(
            part, whole, f" ms for the longest {key.removesuffix('_ms').upper()}", "one of them is wrong"
        )
        for key, part in found
        if part is not None and whole is not None
    ]
    return next((one for one in bounds if one[0] is not True), bounds[0] if bounds else None)


def little_peak(figures: Figures) -> Found | None:
    """The mean in flight, by Little's law, against the peak, where the file does not name the mean."""
    found = figures.all("throughput.requests_per_s", "metrics.e2el_ms.mean", "in_flight.max")
    if found is None or figures.value("in_flight.mean") is not None or found[2].high <= 0:
        return None
    rate, time, peak = found
    why = "by rate and time more requests were in flight in the mean than at the peak: one of the three is wrong"
    return _at_most(rate * time / Span(1e3, 1e3), peak, " in flight in the mean", why, LITTLE_TOLERANCE)
