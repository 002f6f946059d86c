"""The servers of a point, by the pages of metrics in its run file."""

from __future__ import annotations

import math
from typing import Any

from vllmperf.metrics.replicas import Servers
from vllmperf.record.scrapes import read_scrapes
from vllmperf.run import Run
from vllmperf.scrape.page import parse
from vllmperf.scrape.window import ScrapedPage


def servers_of(run: Run) -> Servers | None:
    """None where nobody watched them, or they have no metrics."""
    pages = [
        ScrapedPage(at, source, parse(page), brief) for at, source, page, brief in read_scrapes(run.path)
    ]
    if not pages:
        return None
    whole = run.untrimmed
    ttft_ms = [float(value) for value in whole.requests["ttft_ms"] if not math.isnan(value)]
    started_ns = int(run.recording.counters.get("start_real_ns") or pages[0].at_ns)
    return Servers(pages, started_ns, whole.summary["requests"]["completed"], ttft_ms)


def server_columns(found: Servers) -> dict[str, Any]:
    """For a row of a table: the most telling of to_dict(), with one name each."""
    data = found.to_dict()
    gap = data["ttft_gap_ms"] or [None, None]
    return {
        "replicas": len(data["replicas"]),
        "server_prefix_hit_rate": data["prefix_hit_rate"],
        "server_requests_cv": data["spread"]["requests"]["cv"],
        "server_requests_max_over_min": data["spread"]["requests"]["max_over_min"],
        "server_output_tokens_cv": data["spread"]["output_tokens"]["cv"],
        "server_preemptions": data["preemptions"],
        "server_running_mean": _over(data, "running", "mean", sum),
        "server_waiting_mean": _over(data, "waiting", "mean", sum),
        "server_waiting_max": _over(data, "waiting", "max", max),
        "server_kv_cache_share_max": _over(data, "kv_cache_share", "max", max),
        "ttft_gap_low_ms": gap[0],
        "ttft_gap_high_ms": gap[1],
    }


def _over(data: dict[str, Any], gauge: str, what: str, join: Any) -> float | None:
    """Of all replicas; None where no page had it."""
    values = [each[gauge][what] for each in data["replicas"] if each[gauge]]
    return float(join(values)) if values else None
