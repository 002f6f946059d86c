"""Which part of a run counts: without the warm-up at its start and the drain at its end.

Latencies are those of requests that were sent within the time that counts, however late they ended; throughput is the work
done within it. Outcomes, failures and sums of tokens are always of the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics import in_flight
from vllmperf.metrics.definitions import BY_NAME, per_request
from vllmperf.metrics.mser import GROUP, MOST, warm_up
from vllmperf.metrics.statistics import median, quantiles
from vllmperf.metrics.view import Completed, Floats, happened
from vllmperf.metrics.window import IN_FLIGHT, RAMP, Drift, Trim
from vllmperf.record.reader import Recording
from vllmperf.record.table import Requests

FEWEST = 50
"""Completed requests: of fewer, nothing is left out."""
MATTERS = 0.01
"""What moves a mean by no more than this share is not worth leaving out."""
CAPS = (3.0, 10.0)
"""Values count up to so many medians, so that a single long request hides nothing; by the second where the first finds none."""
SLACK = 0.1
EXTREME = 0.1
NEARLY_MOST = 0.3
BLOCKS = 10
CLEAR = 4.0
"""The start differs from the rest by so many standard errors, by the scatter of ten blocks of the rest: requests near in time
are alike."""
MOST_BINS = 400
RAMP_SHARE = 0.9
NS, NS_PER_MS = 1e9, 1e6


class Series(NamedTuple):
    """Values in order of time."""

    name: str
    times_ns: NDArray[np.int64]
    values: Floats


def view(recording: Recording, trim: bool = True) -> Completed:
    """What counts of a recording: all but its warm-up and drain, or with trim=False all."""
    whole = Completed(recording)
    found = find(whole)
    if found is None:
        return whole
    return Completed(recording, found if trim else found.untrimmed())


def find(whole: Completed) -> Trim | None:
    """The trim of a run by RULE; None when nothing was sent or nothing ended."""
    if (bounds := _bounds(whole)) is None:
        return None
    first, last_sent, last = bounds
    trim = Trim(first, first, last, last)
    if len(whole.requests) < FEWEST or last_sent <= first:
        return trim
    starts: list[tuple[int, str, int]] = [(first, "", 0)]
    for series in _series(whole, first, last_sent):
        place = settled_at(series.values)
        if place is None:
            trim = trim._replace(drift=trim.drift or _drift(series))
        elif place:
            starts.append((_settled_ns(whole, series, place), series.name, place))
    if (ramp := _ramp_ns(whole, first, last_sent)) is not None:
        starts.append((ramp, RAMP, 0))
    start, name, unlike = max(starts)
    sent = happened(whole.recording, "sent_ns")
    left_out = int((sent < start).sum())
    if 0 < left_out <= MOST * len(sent):
        trim = trim._replace(start_ns=start, left_out=left_out, found_by=name, unlike=unlike)
    return trim._replace(end_ns=_drained_ns(whole.recording.requests, trim, last_sent))


def _bounds(whole: Completed) -> tuple[int, int, int] | None:
    """First and last send and last end; None when nothing was sent or nothing ended."""
    sent, end = (happened(whole.recording, name) for name in ("sent_ns", "end_ns"))
    if len(sent) == 0 or len(end) == 0 or end.max() <= sent.min():
        return None
    return int(sent.min()), int(sent.max()), int(end.max())


def _series(whole: Completed, first: int, last_sent: int) -> Iterator[Series]:
    """TTFT and TPOT in the order in which requests were sent, or E2EL where nothing is streamed; requests in flight."""
    is_stream = (whole.requests["first_token_ns"] != _engine.NONE).any()
    for name in ("ttft", "tpot") if is_stream else ("e2el",):
        yield _by_send(whole, name)
    bins = min(MOST_BINS, len(whole.requests))
    edges = np.linspace(first, last_sent, bins + 1).astype(np.int64)
    if (np.diff(edges) > 0).all():
        yield Series(IN_FLIGHT, edges[:-1], in_flight.means(whole.recording.requests, edges))


def _by_send(whole: Completed, name: str) -> Series:
    values, sent = per_request(whole, name), whole.requests["sent_ns"]
    known = np.flatnonzero(values == values)  # without NaN
    order = known[np.argsort(sent[known], kind="stable")]
    return Series(name, sent[order], values[order])


OVER = {"ttft": "first_token_ns", "e2el": "last_token_ns"}
"""When what was slow is over for a request, by the metric that found it."""


def _settled_ns(whole: Completed, series: Series, place: int) -> int:
    """When the first request that belongs to the rest was sent, and nine in ten of those before it had what they waited for:
    beside slow requests a quick one may have been sent at once."""
    settled = int(series.times_ns[place])
    if series.name not in OVER:
        return settled
    early = whole.requests[OVER[series.name]][whole.requests["sent_ns"] < settled]
    early = early[early != _engine.NONE]
    over = _ramp_end(early) if len(early) else settled
    is_affordable = (whole.requests["sent_ns"] < over).sum() <= MOST * len(whole.requests)
    return max(settled, over) if is_affordable else settled


# ---- where a series has settled ----


def settled_at(values: Floats) -> int | None:
    """How many values at the start do not belong to the rest; None when it never settles: more than half would go, or about
    half and the rest goes on as it began."""
    total = 0
    while cut := _cut(values[total:]):
        total += cut
        if total > MOST * len(values):
            return None
    rest = values[total:]
    half = len(rest) // 2
    goes_on = total > NEARLY_MOST * len(values) and _matters(rest, half) and _is_apart(rest, half)
    return None if goes_on else total


def _cut(values: Floats) -> int:
    middle = median(values) if len(values) else 0.0
    if middle <= 0:
        return 0
    for cap in CAPS:
        capped = np.minimum(values, cap * middle)
        if (cut := warm_up(capped, SLACK)) == 0:
            continue
        cut = _shortened(capped, cut)
        if cut and _matters(values, cut) and _is_apart(capped, cut) and _is_unlike(capped, cut):
            return cut
    return 0


def _shortened(values: Floats, cut: int) -> int:
    """Without what at its end is like the rest: groups of five, then single values."""
    groups = values[: len(values) // GROUP * GROUP].reshape(-1, GROUP).mean(axis=1)
    low, high = groups[cut // GROUP :].min(), groups[cut // GROUP :].max()
    group = cut // GROUP
    while group and low <= groups[group - 1] <= high:
        group -= 1
    low, high = quantiles(values[group * GROUP :], (EXTREME / 2, 1 - EXTREME / 2))
    cut, least = group * GROUP, max((group - 1) * GROUP + 1, 0)
    while cut > least and low <= values[cut - 1] <= high:
        cut -= 1
    return cut


def _matters(values: Floats, cut: int) -> bool:
    return abs(float(values.mean() / values[cut:].mean()) - 1) > MATTERS


def _is_apart(values: Floats, cut: int) -> bool:
    """The start differs from the rest by more than blocks of the rest differ among themselves."""
    rest = values[cut:]
    length = len(rest) // BLOCKS
    if length == 0:
        return False
    variance = float(rest[: length * BLOCKS].reshape(BLOCKS, length).mean(axis=1).var(ddof=1))
    error = float(np.sqrt(variance * (length / cut + 1 / BLOCKS)))
    return abs(float(values[:cut].mean() - rest.mean())) > CLEAR * error


def _is_unlike(values: Floats, cut: int) -> bool:
    """Most of the start is like the rest's most extreme tenth: a single long request is no warm-up."""
    low, high = quantiles(values[cut:], (EXTREME, 1 - EXTREME))
    return not low <= median(values[:cut]) <= high


def _drift(series: Series) -> Drift:
    half = len(series.values) // 2
    scale = 1.0 if series.name == IN_FLIGHT else NS_PER_MS
    key = series.name if series.name == IN_FLIGHT else BY_NAME[series.name].key
    means = (float(part.mean()) / scale for part in (series.values[:half], series.values[half:]))
    return Drift(key, *means)


# ---- the ends of the load ----


def _ramp_ns(whole: Completed, first: int, last_sent: int) -> int | None:
    """When an open loop, which begins empty, has filled up: 90 % of the requests that were sent before the first answer was
    complete have ended. None where that changes little."""
    if not whole.is_open_loop:
        return None
    end = whole.requests["end_ns"]
    early = end[whole.requests["sent_ns"] <= end.min()]
    full = _ramp_end(early)
    requests = whole.recording.requests
    held, all_held = (in_flight.mean_between(requests, start, last_sent) for start in (full, first))
    return full if held and all_held is not None and all_held < (1 - MATTERS) * held else None


def _ramp_end(ends_ns: NDArray[np.int64]) -> int:
    """When RAMP_SHARE of these requests had ended."""
    return int(np.sort(ends_ns)[math.ceil(RAMP_SHARE * (len(ends_ns) - 1))])


def _drained_ns(requests: Requests, trim: Trim, last_sent: int) -> int:
    """The last send, when less was in flight after it; the end of the run where that changes little."""
    if last_sent - trim.start_ns < MOST * (trim.last_ns - trim.start_ns):
        return trim.last_ns  # all was sent at once: there is no other time
    held, all_held = (in_flight.mean_between(requests, trim.start_ns, to) for to in (last_sent, trim.last_ns))
    return last_sent if held and all_held is not None and all_held < (1 - MATTERS) * held else trim.last_ns


# ---- in the summary ----


class TrimDict(TypedDict):
    """found_by: what found the warm-up. requests_unlike: of those left out, the ones that gave it away; median_ms: of that
    metric, of these and of the rest; both None where no metric found it. drift: a series that never settled, with its means
    over both halves."""

    warmup_s: float
    drain_s: float
    requests_left_out: int
    rule: str
    found_by: str | None
    requests_unlike: int | None
    median_ms: list[float] | None
    drift: dict[str, object] | None


def described(whole: Completed, trim: Trim | None) -> TrimDict | None:
    """The summary's "trim"."""
    if trim is None:
        return None
    return {
        "warmup_s": (trim.start_ns - trim.first_ns) / NS,
        "drain_s": (trim.last_ns - trim.end_ns) / NS,
        "requests_left_out": trim.left_out,
        "rule": trim.rule,
        "found_by": trim.found_by or None,
        "requests_unlike": trim.unlike if trim.found_by in BY_NAME else None,
        "median_ms": _medians_ms(whole, trim),
        "drift": None if trim.drift is None else trim.drift._asdict(),
    }


def _medians_ms(whole: Completed, trim: Trim) -> list[float] | None:
    if trim.found_by not in BY_NAME:
        return None
    series = _by_send(whole, trim.found_by)
    rest = series.values[series.times_ns >= trim.start_ns]
    return [median(part) / NS_PER_MS for part in (series.values[: trim.unlike], rest)]
