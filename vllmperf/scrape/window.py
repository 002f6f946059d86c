"""What each replica did between the first and the last of several pages: never what it did in its whole life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vllmperf.scrape.buckets import Histogram
from vllmperf.scrape.page import Page


@dataclass(frozen=True)
class Look:
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


def replicas(looks: Sequence[Look]) -> list[Replica]:
    """Of pages in the order of time. The first page of each source is the state before; a replica that is not on it has counted
    from 0. Two sources may have replicas of one name: their sources stand behind the names then."""
    sources = list(dict.fromkeys(look.source for look in looks))
    found: list[Replica] = []
    for source in sources:
        own = [look for look in looks if look.source == source]
        names = list(dict.fromkeys(name for look in own for name in look.page.replicas))
        found += [_replica(name, own) for name in names]
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        places = [source for source in sources for _ in _names(looks, source)]
        for one, source in zip(found, places, strict=True):
            one.name = f"{one.name} at {source}"
    return found


def _names(looks: Sequence[Look], source: str) -> list[str]:
    return list(dict.fromkeys(name for look in looks if look.source == source for name in look.page.replicas))


def _replica(name: str, looks: Sequence[Look]) -> Replica:
    found = Replica(name)
    counters: dict[str, float] = {}
    histograms: dict[str, Histogram] = {}
    for number, look in enumerate(looks):
        series = look.page.replicas.get(name)
        if series is None:
            continue
        if series.gauges and look.is_brief:
            found.gauges.append((look.at_ns, dict(series.gauges)))
        fell = any(value < counters.get(key, 0.0) for key, value in series.counters.items())
        found.restarts += fell
        for key, value in series.counters.items():
            before = 0.0 if fell else counters.get(key, 0.0)
            found.counters[key] = found.counters.get(key, 0.0) + (0.0 if number == 0 else value - before)
        counters |= series.counters
        found.counted.append((look.at_ns, dict(found.counters)))
        if not look.is_brief:
            if number:
                found.histograms = {
                    key: one.since(histograms.get(key)) for key, one in series.histograms.items()
                }
            else:
                histograms = series.histograms
    return found
