"""A page of metrics, replica by replica, under vLLM's names of today (names.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from vllmperf.scrape.buckets import Histogram, of_lines
from vllmperf.scrape.names import own_name

LINE = re.compile(r"^((?:ray_)?vllm[:_]\w+)(?:\{(.*)\})? ([^\s{}]+)(?: -?\d+)?$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
REPLICA = ("ReplicaId", "replica", "replica_id")
"""Labels of Ray that name a replica; of vLLM alone it is `engine`."""
ENGINE, ONLY = "engine", "0"
GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
BRIEF = re.compile(
    r"^(?:ray_)?vllm[:_](?:num_requests_(?:running|waiting)|(?:gpu|kv)_cache_usage_perc|(?:prompt|generation)_tokens"
    r"|request_success|(?:gpu_)?prefix_cache_(?:queries|hits)|num_preemptions)(?:_total)?[{ ].*$",
    re.MULTILINE,
)
WHOLE = re.compile(r"^(?:ray_)?vllm[:_].*$", re.MULTILINE)


@dataclass
class Series:
    """What one replica says of itself, each summed over its other labels (models, reasons, engines of a Ray replica)."""

    counters: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """replicas: by name. is_ray: Ray wrote it, whose sums of histograms are none and whose values may be old."""

    replicas: dict[str, Series]
    is_ray: bool


def kept(text: str, is_brief: bool = False) -> str:
    """The lines of a page that this module reads; brief: gauges and counters of load alone, for pages during a run."""
    return "\n".join((BRIEF if is_brief else WHOLE).findall(text))


def parse(text: str) -> Page:
    """The page. Lines that are not vLLM's, and values that are no numbers, are left out."""
    buckets: dict[tuple[str, str], dict[float, float]] = {}
    plain: dict[tuple[str, str], float] = {}
    is_ray = False
    for replica, name, bound, value, by_ray in _lines(text):
        is_ray |= by_ray
        if bound is not None:
            own = buckets.setdefault((replica, name), {})
            own[bound] = own.get(bound, 0.0) + value
        else:
            plain[replica, name] = plain.get((replica, name), 0.0) + value
    return Page(_series(buckets, plain, is_ray), is_ray)


def _lines(text: str) -> Iterator[tuple[str, str, float | None, float, bool]]:
    """Replica, name, upper bound of a bucket or None, value, whether Ray wrote it."""
    for raw, labels, number in LINE.findall(text):
        known, own = own_name(raw), dict(LABEL.findall(labels))
        try:
            value, bound = float(number), float(own["le"]) if "le" in own else None
        except ValueError:
            continue
        if known is not None and value == value:
            yield _replica(own), known[0].removesuffix("_bucket"), bound, value, known[1]


def _replica(labels: dict[str, str]) -> str:
    return next((labels[name] for name in REPLICA if labels.get(name)), labels.get(ENGINE) or ONLY)


def _series(
    buckets: dict[tuple[str, str], dict[float, float]], plain: dict[tuple[str, str], float], is_ray: bool
) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for (replica, name), own in buckets.items():
        total, count = (plain.pop((replica, f"{name}_{end}"), None) for end in ("sum", "count"))
        histogram = of_lines(own, None if is_ray else total, count)
        found.setdefault(replica, Series()).histograms[name] = histogram
    for (replica, name), value in plain.items():
        series = found.setdefault(replica, Series())
        if name.endswith("_total"):
            series.counters[name] = value
        elif name in GAUGES:
            series.gauges[name] = value
    return found
