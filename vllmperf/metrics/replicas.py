"""What each replica did during a run, by its own metrics: work, spread over the replicas, prefix cache, load over time.

All of it is of the window between the page before the first request and the one after the last: no mean of a server's life.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

from vllmperf.metrics.percentiles import percentile
from vllmperf.scrape.buckets import Histogram, added
from vllmperf.scrape.window import Replica, ScrapedPage, replicas

REQUESTS, PROMPT, OUTPUT = "request_success_total", "prompt_tokens_total", "generation_tokens_total"
QUERIES, HITS, PREEMPTIONS = "prefix_cache_queries_total", "prefix_cache_hits_total", "num_preemptions_total"
RUNNING, WAITING, KV = "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"
TTFT = "time_to_first_token_seconds"
QUANTILES = (50, 90, 99)
WORK = {"requests": REQUESTS, "prompt_tokens": PROMPT, "output_tokens": OUTPUT}
COUNTED = {**WORK, "prefix_queries": QUERIES, "prefix_hits": HITS}
GAUGES = {"running": RUNNING, "waiting": WAITING, "kv_cache_share": KV}
FEWER = 0.98
"""A server that counted less than this share of our requests has not told all of them."""


@dataclass(frozen=True)
class Servers:
    """pages: in the order of time. started_ns: of the run, ns since 1970. ttft_ms: the client's, of all completed requests."""

    pages: Sequence[ScrapedPage]
    started_ns: int
    completed: int
    ttft_ms: Sequence[float]

    @cached_property
    def replicas(self) -> list[Replica]:
        return replicas(self.pages)

    @property
    def is_ray(self) -> bool:
        return any(one.page.is_ray for one in self.pages)

    @cached_property
    def ttft(self) -> Histogram | None:
        """The servers' own, buckets of all replicas added. Raises VllmperfError where they differ."""
        return added(one.histograms[TTFT] for one in self.replicas if TTFT in one.histograms)

    def total(self, counter: str) -> float | None:
        """The increase over all replicas; None where none has it."""
        found = [one.counters[counter] for one in self.replicas if counter in one.counters]
        return sum(found) if found else None

    def spread(self, counter: str) -> dict[str, float | None]:
        """cv: standard deviation over mean of the replicas; max_over_min: None where one did nothing."""
        values = [one.counters.get(counter, 0.0) for one in self.replicas]
        if len(values) < 2 or not sum(values):
            return {"cv": None, "max_over_min": None}
        return {
            "cv": pstdev(values) / fmean(values),
            "max_over_min": max(values) / min(values) if min(values) else None,
        }

    @property
    def hit_rate(self) -> float | None:
        """Share of the prompt tokens that were looked up which the prefix caches had."""
        return _share(self.total(HITS), self.total(QUERIES))

    def series(self) -> list[dict[str, Any]]:
        """Each page over time: {"replica", "t_s" since the start of the run on the client's clock, "running", "waiting",
        "kv_cache_share", and since the first page "requests", "prompt_tokens", "output_tokens", "prefix_queries", "prefix_hits"},
        None where the page left one out."""
        return [
            {
                "replica": one.name,
                "t_s": (at_ns - self.started_ns) / 1e9,
                **{ours: gauges.get(theirs) for ours, theirs in GAUGES.items()},
                **{ours: counted.get(theirs) for ours, theirs in COUNTED.items()},
            }
            for one in self.replicas
            for at_ns, gauges, counted in _pages(one)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; docs/sweep.md says what each is."""
        return {
            "form": "ray" if self.is_ray else "vllm",
            "pages": len(self.pages),
            "requests": self.total(REQUESTS),
            "prefix_hit_rate": self.hit_rate,
            "preemptions": self.total(PREEMPTIONS),
            "spread": {name: self.spread(counter) for name, counter in WORK.items()},
            "ttft_ms": self._ttft(),
            "ttft_gap_ms": self._gap(),
            "replicas": [_replica(one) for one in self.replicas],
            "notes": self._notes(),
        }

    def _ttft(self) -> dict[str, Any] | None:
        if self.ttft is None:
            return None
        return {
            "n": round(self.ttft.count),
            "mean": _ms(self.ttft.mean),
            **{f"p{q}": _bucket_ms(self.ttft.quantile(q / 100)) for q in QUANTILES},
        }

    def _gap(self) -> list[float | None] | None:
        """The client's TTFT less the server's: network, proxies, routers, as [least, most]. From means where there are any, else
        from medians, which are known to a bucket. None where the server counted other requests than ours."""
        if (
            self.ttft is None
            or not len(self.ttft_ms)
            or abs(self.ttft.count / self.completed - 1) > 1 - FEWER
        ):
            return None
        if self.ttft.mean is not None:
            gap = fmean(self.ttft_ms) - 1e3 * self.ttft.mean
            return [gap, gap]
        bucket = self.ttft.quantile(0.5)
        if bucket is None:
            return None
        ours = float(percentile(self.ttft_ms, 50))
        return [ours - 1e3 * bucket[1], ours - 1e3 * bucket[0]]

    def first_tokens(self) -> tuple[float, float, float] | None:
        """The client's TTFT in ms, and the least and the most that the servers' is: means; of Ray medians, the servers' to a
        bucket. None where the gap is not known."""
        least, most = self._gap() or (None, None)
        if self.ttft is None or least is None or most is None:
            return None
        seen = fmean(self.ttft_ms) if self.ttft.mean is not None else float(percentile(self.ttft_ms, 50))
        return seen, seen - most, seen - least

    def _notes(self) -> list[str]:
        found = [
            f"replica {one.name} was started again during the run: its counters fell"
            for one in self.replicas
            if one.restarts
        ]
        told = self.total(REQUESTS)
        counted = f"the replicas counted {told or 0:,.0f} requests, we completed {self.completed:,}"
        if told is not None and told < FEWER * self.completed:
            found.append(f"{counted}: some pages are old or missing")
        elif told is not None and told * FEWER > self.completed:
            found.append(f"{counted}: others were served too")
        return found


def _pages(one: Replica) -> Iterator[tuple[int, dict[str, float], dict[str, float]]]:
    """When, the gauges, what was counted up to then."""
    gauges = dict(one.gauges)
    return ((at_ns, gauges.get(at_ns, {}), counted) for at_ns, counted in one.counted)


def _replica(one: Replica) -> dict[str, Any]:
    return {
        "replica": one.name,
        **{name: one.counters.get(counter) for name, counter in WORK.items()},
        "prefix_hit_rate": _share(one.counters.get(HITS), one.counters.get(QUERIES)),
        "preemptions": one.counters.get(PREEMPTIONS),
        **{name: _gauge(one, theirs) for name, theirs in GAUGES.items()},
        "restarts": one.restarts,
    }


def _gauge(one: Replica, name: str) -> dict[str, float] | None:
    """Mean over time, each value until the next page, and the largest."""
    seen = [(at, values[name]) for at, values in one.gauges if name in values]
    if not seen:
        return None
    spans = [later[0] - at[0] for at, later in pairwise(seen)]
    total = sum(spans)
    mean = (
        sum(span * value for span, (_, value) in zip(spans, seen, strict=False)) / total
        if total
        else seen[0][1]
    )
    return {"mean": mean, "max": max(value for _, value in seen)}


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _bucket_ms(bucket: tuple[float, float] | None) -> list[float | None] | None:
    """[lower, upper]; the upper one is None in the last bucket."""
    return (
        None if bucket is None else [1e3 * bucket[0], None if bucket[1] == float("inf") else 1e3 * bucket[1]]
    )
