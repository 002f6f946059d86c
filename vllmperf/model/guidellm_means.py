"""Means of the benchmarks in a report of guidellm 0.2 to 0.8, JSON or YAML.

A report is a mapping with `benchmarks`; each has `metrics`, by name. Up to 0.3 every metric is a distribution by status;
since 0.4 counts (`request_totals`) and groups (`text`, `image`, …) stand among them. Taken from the reports that the
releases 0.2.1, 0.3.1, 0.4.0, 0.5.0, 0.6.0, 0.7.0 and 0.8.0 write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

NEEDED = "inter_token_latency_ms"


class BenchmarkMeans(NamedTuple):
    """Of one benchmark's successful requests; None where the report does not say."""

    itl_ms: float | None
    ttft_ms: float | None
    concurrency: float | None
    input_tokens: float | None
    output_tokens: float | None
    successful: int | None  # requests


def is_report(data: object) -> bool:
    return isinstance(data, Mapping) and isinstance(data.get("benchmarks"), list)


def means(report: Mapping[str, Any]) -> list[BenchmarkMeans]:
    """Those of every benchmark, in the report's order. ValueError, with the place, for one that is none."""
    return [_of_one(one, place) for place, one in enumerate(report["benchmarks"], 1)]


def _of_one(one: object, place: int) -> BenchmarkMeans:
    metrics = one.get("metrics") if isinstance(one, Mapping) else None
    if not isinstance(metrics, Mapping):
        raise ValueError(f"benchmark {place} has no metrics, which guidellm 0.2 to 0.8 writes for each")
    if NEEDED not in metrics:
        raise ValueError(f"benchmark {place} has no {NEEDED}, which guidellm 0.2 to 0.8 writes for each")
    return BenchmarkMeans(
        itl_ms=_mean(metrics, NEEDED),
        ttft_ms=_mean(metrics, "time_to_first_token_ms"),
        concurrency=_mean(metrics, "request_concurrency"),
        input_tokens=_mean(metrics, "prompt_token_count"),
        output_tokens=_mean(metrics, "output_token_count"),
        successful=_successful(metrics),
    )


def _mean(metrics: Mapping[str, Any], name: str) -> float | None:
    found = _of_successful(metrics, name).get("mean")
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _of_successful(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    by_status = metrics.get(name)
    found = by_status.get("successful") if isinstance(by_status, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _successful(metrics: Mapping[str, Any]) -> int | None:
    totals = metrics.get("request_totals")
    found = totals.get("successful") if isinstance(totals, Mapping) else None
    if found is None:
        found = _of_successful(metrics, NEEDED).get("count")
    return int(found) if isinstance(found, int) and not isinstance(found, bool) else None
