"""What each replica did between the first and the last of several pages: never what it did in its whole life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vllmperf.scrape.buckets import Histogram
from vllmperf.scrape.page import Page


@dataclass(frozen=True)
class ScrapedPage:
    """A page, and when it was asked for: ns since 1970 on the client's clock. is_brief: it has no histograms."""

    at_ns: int
    source: str
    page: Page
    is_brief: bool = False


@dataclass
class Replica:
    """counters, histograms: increases. gauges: (ns since 1970, values by name) of each brief page that has them: whole
    ones are of before and after the load. Ray leaves those of an idle engine out. counted: increases
    of the counters up to each page. restarts: how often its counters fell."""

    name: str
    counters: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    gauges: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    counted: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    restarts: int = 0


def replicas(pages: Sequence[ScrapedPage]) -> list[Replica]:
    """Of pages in the order of time. The first page of each source is the state before; a replica that is not on it has counted
    from 0. Two sources may have replicas of one name: their sources stand behind the names then."""
    sources = list(dict.fromkeys(page.source for page in pages))
    found: list[Replica] = []
    for source in sources:
        own = [page for page in pages if page.source == source]
        names = list(dict.fromkeys(name for page in own for name in page.page.replicas))
        found += [_replica(name, own) for name in names]
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        places = [source for source in sources for _ in _names(pages, source)]
        for one, source in zip(found, places, strict=True):
            one.name = f"{one.name} at {source}"
    return found


def _names(pages: Sequence[ScrapedPage], source: str) -> list[str]:
    return list(dict.fromkeys(name for page in pages if page.source == source for name in page.page.replicas))


def _replica(name: str, pages: Sequence[ScrapedPage]) -> Replica:
    found = Replica(name)
    counters: dict[str, float] = {}
    histograms: dict[str, Histogram] = {}
    for number, page in enumerate(pages):
        series = page.page.replicas.get(name)
        if series is None:
            continue
        if series.gauges and page.is_brief:
            found.gauges.append((page.at_ns, dict(series.gauges)))
        fell = any(value < counters.get(key, 0.0) for key, value in series.counters.items())
        found.restarts += fell
        for key, value in series.counters.items():
            before = 0.0 if fell else counters.get(key, 0.0)
            found.counters[key] = found.counters.get(key, 0.0) + (0.0 if number == 0 else value - before)
        counters |= series.counters
        found.counted.append((page.at_ns, dict(found.counters)))
        if not page.is_brief:
            if number:
                found.histograms = {
                    key: one.since(histograms.get(key)) for key, one in series.histograms.items()
                }
            else:
                histograms = series.histograms
    return found
