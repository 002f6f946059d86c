"""What each replica of a server has counted, whatever vLLM or Ray call it: from a page of metrics, and between two pages.

vLLM writes `vllm:name`, Ray `ray_vllm:name` or, since 2.51, `ray_vllm_name`. Ray's ReplicaId names the replica, else the
label engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from vllmperf.scrape.text import samples

K = TypeVar("K")

PREFIXES = {"ray_vllm_": True, "ray_vllm:": False, "vllm:": False}
"""How names begin, and whether sums of histograms are made of the middles of their buckets: there they give no mean."""
REPLICA = ("ReplicaId", "replica", "replica_id", "WorkerId", "engine")
TODAY = {"time_per_output_token_seconds": "inter_token_latency_seconds"}
"""Names that vLLM gave up (V0 until 0.11), and what it calls the same now."""
ENDS = ("_total", "_sum", "_count", "_bucket")


@dataclass(slots=True)
class Counts:
    """By replica and name (of today, without prefix): counters, sums and counts of histograms.

    buckets: by replica, name and upper bound, cumulated. has_sums: the sums are sums of what was measured.
    """

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    buckets: dict[str, dict[str, dict[float, float]]] = field(default_factory=dict)
    has_sums: bool = True

    @property
    def replicas(self) -> list[str]:
        return sorted(self.values)

    def total(self, name: str) -> float | None:
        """Summed over the replicas that have it; None when none has."""
        found = [own[name] for own in self.values.values() if name in own]
        return sum(found) if found else None

    def mean(self, histogram: str) -> float | None:
        """Of all that the replicas measured; None without any, and where the sums are none."""
        n, amount = self.total(f"{histogram}_count"), self.total(f"{histogram}_sum")
        return amount / n if self.has_sums and n and amount is not None else None

    def bounds(self, histogram: str) -> tuple[float, float] | None:
        """Between which values the mean lies by the buckets; None without any, or when a value is above the last bound."""
        cells = [cell for own in self.buckets.values() for cell in _cells(own.get(histogram, {}))]
        n = sum(count for _, _, count in cells)
        low, high = (sum(cell[edge] * cell[2] for cell in cells if cell[2]) for edge in (0, 1))
        return (low / n, high / n) if n and high < float("inf") else None


def _cells(cumulated: Mapping[float, float]) -> list[tuple[float, float, float]]:
    """Lower bound, upper bound and number of values of each bucket."""
    bounds = sorted(cumulated)
    edges = zip([0.0, *bounds], bounds, strict=False)
    return [(low, high, cumulated[high] - cumulated.get(low, 0.0)) for low, high in edges]


def counts(pages: Iterable[str]) -> Counts:
    """Of all pages together. Raises ValueError when one is no Prometheus text."""
    found = Counts()
    for page in pages:
        for sample in samples(page):
            prefix = next((one for one in PREFIXES if sample.name.startswith(one)), None)
            if prefix is None or not sample.name.endswith(ENDS):
                continue
            found.has_sums &= not PREFIXES[prefix]
            replica = next((sample.labels[label] for label in REPLICA if label in sample.labels), "0")
            _add(
                found, replica, _name(sample.name.removeprefix(prefix)), sample.labels.get("le"), sample.value
            )
    return found


def _name(name: str) -> str:
    base, _, end = name.rpartition("_")
    return f"{TODAY[base]}_{end}" if base in TODAY else name


def _add(found: Counts, replica: str, name: str, bound: str | None, value: float) -> None:
    if bound is None:
        own = found.values.setdefault(replica, {})
        own[name] = own.get(name, 0.0) + value
        return
    buckets = found.buckets.setdefault(replica, {}).setdefault(name.removesuffix("_bucket"), {})
    buckets[float(bound)] = buckets.get(float(bound), 0.0) + value


def between(before: Counts, after: Counts) -> Counts:
    """What was counted between two looks. A counter that fell began anew: it counts from 0."""
    return Counts(
        {name: _grown(before.values.get(name, {}), own) for name, own in after.values.items()},
        {
            replica: {
                name: _grown(before.buckets.get(replica, {}).get(name, {}), own)
                for name, own in every.items()
            }
            for replica, every in after.buckets.items()
        },
        after.has_sums,
    )


def _grown(before: Mapping[K, float], after: Mapping[K, float]) -> dict[K, float]:
    has_restarted = any(value < before.get(key, 0.0) for key, value in after.items())
    return {key: value - (0.0 if has_restarted else before.get(key, 0.0)) for key, value in after.items()}
