"""Where a request's time went: from the client over the network into the server's queue, its prefill, its decode.

Servers tell it in two ways. vLLM with --enable-per-request-metrics puts queue, prefill and decode time of a request into its
answer. Any vLLM sums the same up on its page of metrics; the pages before and after a run give means over what it finished
in between (docs/server_times.md).
"""

from collections.abc import Mapping
from typing import TypedDict

import numpy as np

import vllmperf._engine as _engine
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import Completed, Flags, Floats

PARTS = ("client_wait", "network", "server_queue", "server_prefill", "server_decode", "delivery")
"""Metrics that add up to the end-to-end latency, client_wait to that from the schedule."""
MISFIT_SHARE, MISFIT_NS = 0.1, 10e6
"""A request's parts do not fit when what they miss is more than this share of its latency, and more than 10 ms."""
HISTOGRAMS = {
    "ttft": "time_to_first_token_seconds",
    "e2el": "e2e_request_latency_seconds",
    "queue": "request_queue_time_seconds",
    "prefill": "request_prefill_time_seconds",
    "decode": "request_decode_time_seconds",
    "inference": "request_inference_time_seconds",
}
"""Ours, and vLLM's histogram (V0 and V1)."""


SEES_OURS = 0.95
"""A page that counted fewer than this share of our requests, or ours were fewer than this share of its, is not of our run."""


class Means(TypedDict):
    """Of all requests that the server finished between the two pages. queue to inference: as the engine saw it; ttft and e2el:
    from the arrival at the server's front end. front_end: ttft − queue − prefill; network: our TTFT − ttft. Both are None when
    the page counts other requests than ours."""

    requests: int
    network_ms: float | None
    ttft_ms: float | None
    e2el_ms: float | None
    queue_ms: float | None
    prefill_ms: float | None
    decode_ms: float | None
    inference_ms: float | None
    front_end_ms: float | None


class ServerTimes(TypedDict):
    """requests: how many of the `of` completed ones told their times. split_ms: means of these, which add up to their e2el;
    client_wait is beside them. misfits: how many have parts that do not fit the client's stamps. means: by the pages of
    metrics. counters_fell: between the pages: the server was started again, or the pages are of two servers."""

    requests: int
    of: int
    split_ms: Mapping[str, float | None] | None
    misfits: int
    means: Means | None
    counters_fell: bool


def server_times(done: Completed) -> ServerTimes | None:
    """None where the server tells nothing."""
    known = _told(done)
    before, after = done.server_pages
    fell = any(after.get(name, 0) < value for name, value in before.items()) if after else False
    means = None if fell or not after else _means(before, after, done.whole)
    if not known.any() and means is None and not fell:
        return None
    return {
        "requests": int(known.sum()),
        "of": len(known),
        "split_ms": _split(done, known) if known.any() else None,
        "misfits": int((_misfit(done)[known] > 1).sum()),
        "means": means,
        "counters_fell": fell,
    }


def _told(done: Completed) -> Flags:
    told: Flags = done.requests["server_queue_ns"] != _engine.NONE
    return told & ~np.isnan(_of(done, "network"))


def _of(done: Completed, name: str) -> Floats:
    of_request = BY_NAME[name].of_request
    assert of_request is not None
    return of_request(done)


def _split(done: Completed, known: Flags) -> dict[str, float | None]:
    parts = {name: _of(done, name)[known] for name in (*PARTS, "e2el")}
    return {
        name: float(np.nanmean(each)) / NS_PER_MS if not np.isnan(each).all() else None
        for name, each in parts.items()
    }


def _misfit(done: Completed) -> Floats:
    """How much a request's parts miss, in what is allowed: they are longer than the time that they are parts of, or the tokens
    took another time to arrive than to be made."""
    missing = np.fmax(-_of(done, "network"), np.abs(np.nan_to_num(_of(done, "delivery"))))
    allowed: Floats = np.fmax(MISFIT_NS, MISFIT_SHARE * _of(done, "e2el"))
    return missing / allowed


def _means(before: Mapping[str, float], after: Mapping[str, float], ours: Completed) -> Means | None:
    def grown(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    def mean_ms(histogram: str) -> float | None:
        count = grown(f"{histogram}_count")
        return 1e3 * grown(f"{histogram}_sum") / count if count > 0 else None

    queue, prefill, ttft = (mean_ms(HISTOGRAMS[name]) for name in ("queue", "prefill", "ttft"))
    if queue is None or prefill is None:
        return None
    requests, ours_ms = grown(f"{HISTOGRAMS['queue']}_count"), _of(ours, "ttft") / NS_PER_MS
    is_ours = len(ours_ms) and SEES_OURS <= requests / len(ours_ms) <= 1 / SEES_OURS
    knows_both = is_ours and not np.isnan(ours_ms).all()
    return {
        "requests": round(requests),
        "network_ms": float(np.nanmean(ours_ms)) - ttft if knows_both and ttft is not None else None,
        "ttft_ms": ttft,
        "e2el_ms": mean_ms(HISTOGRAMS["e2el"]),
        "queue_ms": queue,
        "prefill_ms": prefill,
        "decode_ms": mean_ms(HISTOGRAMS["decode"]),
        "inference_ms": mean_ms(HISTOGRAMS["inference"]),
        # the sums of a page are large: below 1 ns their difference is noise
        "front_end_ms": round(ttft - queue - prefill, 6) + 0.0 if is_ours and ttft is not None else None,
    }
