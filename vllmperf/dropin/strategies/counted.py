"""What all replicas together counted during a benchmark."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vllmperf.scrape.buckets import Histogram, added
from vllmperf.scrape.page import parse
from vllmperf.scrape.window import Replica, ScrapedPage, replicas
from vllmperf.target import AnswerError, Client

DONE = "request_success_total"
SETTLED_S, POLL_S = 15.0, 0.5
"""Ray hands its counts on every 10 s."""


@dataclass(frozen=True, slots=True)
class Counted:
    """is_ray: Ray wrote the pages, so that histograms have no sums."""

    replicas: Sequence[Replica] = ()
    is_ray: bool = False

    def total(self, name: str) -> float | None:
        """A counter over all replicas that have it; None when none has."""
        found = [one.counters[name] for one in self.replicas if name in one.counters]
        return sum(found) if found else None

    def histogram(self, name: str) -> Histogram | None:
        """Over all replicas; None when none has it."""
        return added(one.histograms[name] for one in self.replicas if name in one.histograms)

    def mean(self, name: str) -> float | None:
        """Of all values in a histogram; None without any, and of Ray."""
        found = self.histogram(name)
        return None if found is None else found.mean

    def mean_bounds(self, name: str) -> tuple[float, float] | None:
        """Between which values that mean lies by the buckets; None without any, or when one is above the last bound."""
        found = self.histogram(name)
        if found is None or not found.count:
            return None
        numbers = [now - below for below, now in zip([0.0, *found.counts], found.counts, strict=False)]
        if numbers[-1]:
            return None
        edges = [(low, high) for low, high in zip([0.0, *found.bounds], found.bounds, strict=False)][:-1]
        low, high = (sum(edge[i] * n for edge, n in zip(edges, numbers, strict=False)) for i in (0, 1))
        return low / found.count, high / found.count


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages of metrics. urls: one for each node. pages: what they gave, in the order of time."""

    urls: list[str]
    pages: list[ScrapedPage] = field(default_factory=list)

    def settle(self, requests: float) -> bool:
        """Read pages until so many requests are counted in all, at last after SETTLED_S; whether there are counts."""
        deadline_s = time.monotonic() + SETTLED_S
        while True:
            found = self._now()
            done = sum(one.counters.get(DONE, 0.0) for page in found for one in page.page.replicas.values())
            if done >= requests or time.monotonic() >= deadline_s:
                self.pages.extend(found)
                return any(page.page.replicas for page in found)
            time.sleep(POLL_S)

    def done(self) -> float:
        """Requests that the last pages have counted since the server's start."""
        last = self.pages[-len(self.urls) :]
        return sum(one.counters.get(DONE, 0.0) for page in last for one in page.page.replicas.values())

    def counted(self) -> Counted:
        """From the first page to the last one."""
        return Counted(replicas(self.pages), any(page.page.is_ray for page in self.pages))

    def _now(self) -> list[ScrapedPage]:
        return [ScrapedPage(time.time_ns(), url, parse(_text(url))) for url in self.urls]


def _text(url: str) -> str:
    """The page; empty where there is none."""
    try:
        return Client(url).get("").decode(errors="replace")
    except AnswerError:
        return ""
