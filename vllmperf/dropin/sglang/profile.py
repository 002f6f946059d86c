"""Which client is replaced."""

from __future__ import annotations

from vllmperf.dropin.benchmark_serving.profiles import Profile

SGLANG = Profile(
    "sglang",
    "sglang",
    "SGLang 0.4.4.post1",
    "bench_serving.py",
    counts_usage=True,
    server_prompt=False,
    knows_failed=False,
    keeps_connections=False,
)
