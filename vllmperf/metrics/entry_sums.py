"""Sums between the figures of a result and the single requests that the same file lists: for `vllmperf check`."""

from __future__ import annotations

from vllmperf.metrics.figure_spans import Figures, Found
from vllmperf.numbers import brief, plural

FLOATS = 1e-9
"""What adding in another order changes, as a share."""


def lengths(figures: Figures) -> Found | None:
    """One entry a request in each array, and as many without an error as completed."""
    entries = figures.entries
    if entries is None:
        return None
    if entries.bad:
        return False, ", ".join(entries.bad), "numbers", "an array holds what is no number"
    if len(set(entries.lengths.values())) > 1:
        short, long = (pick(entries.lengths, key=entries.lengths.__getitem__) for pick in (min, max))
        left, right = (f"{name} {entries.lengths[name]:,}" for name in (short, long))
        return False, left, right, "an array has lost entries, or got some"
    n = next(iter(entries.lengths.values()))
    done, failed = figures.value("requests.completed"), figures.value("requests.not_completed")
    if done is not None and entries.completed is not None and entries.completed != done:
        sides = f"{plural(entries.completed, 'entry', 'entries')} without an error", f"{done:g} completed"
        return False, *sides, "the arrays are of other requests than the figures"
    asked = None if done is None else done + (failed or 0)
    if asked is not None and (n < asked or (failed and n != asked)):
        return False, f"{n:,} entries", f"{asked:g} requests", "the arrays are not of all requests"
    return True, f"{n:,} entries", "", ""


def recounted(figures: Figures) -> Found | None:
    """Each figure is what the single requests give."""
    if figures.entries is None or not figures.entries.recounts:
        return None
    recounts = figures.entries.recounts
    known = {path: figures(path) for path in recounts}
    stated = {path: span for path, span in known.items() if span is not None}
    if not stated:
        return None
    off = []
    for path, said in stated.items():
        one = recounts[path]
        slack = one.half + FLOATS * max(abs(one.value), said.high)
        if not said.low - slack <= one.value <= said.high + slack:
            off.append(path)
    if not off:
        return True, f"{plural(len(stated), 'figure')}", "", ""
    name = off[0].removeprefix("metrics.").replace("_ms.", " ").replace(".", " ", 1)
    more = f", and {len(off) - 1} more of {len(stated)} figures" if len(off) > 1 else ""
    sides = f"{name} {brief(recounts[off[0]].value, 6)} by request", f"{brief(stated[off[0]].middle, 6)}"
    return False, *sides, f"the figure is not of these requests{more}"
