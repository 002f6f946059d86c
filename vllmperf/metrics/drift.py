"""Whether the server was still getting faster when the run ended: then its warm-up was not over."""

import math

import numpy as np

from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.growth import BLOCKS, tau
from vllmperf.metrics.statistics import median
from vllmperf.metrics.view import Completed, Floats

FEWEST = 80
"""With fewer requests a quarter says too little."""
GENERATIONS = 16
"""A run that is shorter than so many answers says nothing: requests that are sent together fare alike."""
SURE_Z = 4.0
"""Of a rank-sum test between the third and the last quarter: by chance one of 30,000 independent runs is beyond it;
requests that share a step are not independent, hence so far out."""
FALLING = -0.7
"""Kendall's tau of the medians of BLOCKS blocks: a load that goes up and down does not fall all the time."""
METRICS = ("ttft", "tpot")


def still_faster(done: Completed) -> dict[str, float | str] | None:
    """The metric that fell most from the third to the last quarter of the requests, in the order of their sending: its
    medians in ms, and the share by which it fell (0: it did not, for sure). None with too few requests."""
    requests = done.requests
    if len(requests) < FEWEST:
        return None
    if np.ptp(requests["sent_ns"]) < GENERATIONS * median(requests["end_ns"] - requests["sent_ns"]):
        return None
    order = np.argsort(requests["sent_ns"], kind="stable")
    order = order[
        requests["end_ns"][order] <= requests["sent_ns"].max()
    ]  # without the drain, when the load falls
    found = [one for name in METRICS if (one := _fall(name, done, order)) is not None]
    return max(found, key=lambda one: float(one["share"])) if found else None


def _fall(
    name: str, done: Completed, order: "np.ndarray[tuple[int], np.dtype[np.intp]]"
) -> dict[str, float | str] | None:
    of_request = BY_NAME[name].of_request
    assert of_request is not None
    values = of_request(done)[order]
    values = values[~np.isnan(values)]
    if len(values) < FEWEST:
        return None
    quarter = len(values) // 4
    third, last = values[-2 * quarter : -quarter], values[-quarter:]
    before, after = median(third), median(last)
    blocks = np.array([median(block) for block in np.array_split(values, BLOCKS)])
    is_sure = tau(blocks) <= FALLING and rank_sum_z(last, third) < -SURE_Z
    return {
        "metric": name,
        "before_ms": before / 1e6,
        "after_ms": after / 1e6,
        "share": max(1 - after / before, 0.0) if is_sure and before > 0 else 0.0,
    }


def rank_sum_z(a: Floats, b: Floats) -> float:
    """z of Wilcoxon's rank-sum test: below 0 where values of a are smaller than those of b. Ties take mean ranks."""
    both = np.concatenate([a, b])
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    n, m = len(a), len(b)
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / ((n + m) * (n + m - 1))
    spread = math.sqrt(max(n * m / 12 * (n + m + 1 - ties), 0.0))
    return float(ranks[:n].sum() - n * (n + m + 1) / 2) / spread if spread else 0.0
