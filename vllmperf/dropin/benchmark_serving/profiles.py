"""The three versions of vLLM's serving benchmark that are taken the place of, and what differs between them."""

from __future__ import annotations

from dataclasses import dataclass

from vllmperf.dropin.benchmark_serving.versions import Version


@dataclass(frozen=True, slots=True)
class Profile:
    """One version.

    counts_usage: output tokens are the server's, where it says them; else always the tokenizer's.
    server_prompt: input tokens are the server's too. knows_failed: failures have a row, and are listed.
    keeps_connections: requests share them (0.6 and 0.8 have an aiohttp session a request).
    """

    name: str
    version: Version
    release: str
    program: str
    counts_usage: bool
    server_prompt: bool
    knows_failed: bool
    keeps_connections: bool


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("vllm-0.6", "0.6", "vLLM 0.6.4", "benchmark_serving.py", False, False, False, False),
        Profile("vllm-0.8", "0.8", "vLLM 0.8.5", "benchmark_serving.py", True, False, False, False),
        Profile("vllm-2026", "2026", "vLLM 0.33.0", "vllm bench serve", True, True, True, True),
    )
}
