"""vLLM's metrics under one name each, whatever version and router write them: V0, V1, and both spellings of Ray.

vllm:prompt_tokens_total, ray_vllm:prompt_tokens_total (Ray before 2.51), ray_vllm_prompt_tokens_total (since then)
"""

from __future__ import annotations

import re

OURS = re.compile(r"(?P<ray>ray_)?vllm[:_](?P<name>\w+)")
RENAMED = {
    "gpu_cache_usage_perc": "kv_cache_usage_perc",  # V0, V1 before 0.9
    "gpu_prefix_cache_queries": "prefix_cache_queries",  # V1 before 0.9
    "gpu_prefix_cache_hits": "prefix_cache_hits",
    "time_per_output_token_seconds": "inter_token_latency_seconds",  # V0, V1 before 0.11: one value a gap
}
"""Old names (without the end of counters and histograms), and today's."""
ENDS = ("_total", "_bucket", "_sum", "_count")
COUNTERS = frozenset(
    {
        *("prompt_tokens", "generation_tokens", "request_success", "num_preemptions"),
        *("prefix_cache_queries", "prefix_cache_hits"),
    }
)
"""Counters that some exporters write without _total."""


def own_name(raw: str) -> tuple[str, bool] | None:
    """The name of today without prefix, and whether Ray wrote it; None for what is not vLLM's.

    >>> own_name("ray_vllm:gpu_prefix_cache_hits"), own_name("vllm:num_requests_running"), own_name("ray_serve_x")
    (('prefix_cache_hits_total', True), ('num_requests_running', False), None)
    """
    found = OURS.fullmatch(raw)
    if found is None:
        return None
    name = found["name"]
    end = next((end for end in ENDS if name.endswith(end)), "")
    base = name.removesuffix(end)
    base = RENAMED.get(base, base)
    return base + (end or ("_total" if base in COUNTERS else "")), found["ray"] is not None
