"""The Summary block: which figures, in which order, under which names."""

from __future__ import annotations

from typing import Any

from vllmperf.dropin.llm_bench.options import Options
from vllmperf.dropin.llm_bench.sending import lengths
from vllmperf.dropin.llm_bench.stats import Stats, locust_round, unrounded
from vllmperf.dropin.llm_bench.target import Target

Figures = dict[str, Any]

OLD_MEANS = ("time_to_first_token", "latency_per_token", "num_tokens", "total_latency", "prompt_tokens")
NEW_MEANS = (
    "time_to_first_token",
    "latency_per_token",
    "overall_latency_per_token",
    "total_latency",
    "num_tokens",
    "prompt_tokens",
    "generation_tokens",
    "completion_tokens",
)
OF_STREAMS = ("time_to_first_token", "latency_per_token")
"""Means that say nothing without a stream: left empty."""


def figures(options: Options, target: Target, stats: Stats) -> Figures:
    """The figures by their names, in the order of the block and of the CSV's columns."""
    means: Figures = {
        name: stats.entry("METRIC", name).mean for name in (OLD_MEANS if options.is_old else NEW_MEANS)
    }
    if not options.stream:
        means |= dict.fromkeys(OF_STREAMS, "")
    latency = stats.entry("METRIC", "total_latency")
    found: Figures = _settings(options, target)
    found |= means  # keeps the place of what was there
    found |= {"num_requests": latency.count, "qps": stats.rate(latency.count)}
    found |= _percentiles(options, stats)
    return {pretty(name): value for name, value in found.items()}


def _settings(options: Options, target: Target) -> Figures:
    made = str(lengths(options))
    settings = {
        "provider": target.provider,
        "model": target.model,
        "prompt_tokens": options.prompt_tokens,
        "generation_tokens": made,
        **({} if options.is_old else {"completion_tokens": made}),
        "stream": options.stream,
        "temperature": options.temperature,
        "logprobs": options.logprobs,
    }
    if options.top_k is not None:
        settings["top_k"] = options.top_k
    fixed_rate = f"QPS {options.qps} {options.qps_distribution}"
    return {**settings, "concurrency": options.users if options.qps is None else fixed_rate}


def _percentiles(options: Options, stats: Stats) -> Figures:
    rounding = locust_round if options.locust_rounding else unrounded
    ranks = (50, 90, 99, 99.9) if options.is_old else (50, 90, 95, 99, 99.9)
    names = ["time_to_first_token", "total_latency"]
    if not options.is_old and not options.stream:
        names.remove("time_to_first_token")
    return {
        f"P{rank}_{name}": stats.entry("METRIC", name).percentile(rank / 100, rounding)
        for name in names
        for rank in ranks
    }


def pretty(name: str) -> str:
    """`total_latency` as "Total Latency"."""
    return " ".join(word.capitalize() for word in name.split("_"))


def block(found: Figures) -> str:
    """The block of 80 columns."""
    width = max(map(len, found))
    lines = [f"{name:<{width}}: {value}" for name, value in found.items()]
    return "\n".join([" Summary ".center(80, "="), *lines, "=" * 80])
