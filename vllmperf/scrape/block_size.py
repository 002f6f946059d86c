"""Tokens of a block of the server's KV cache, as its page of metrics says."""

from __future__ import annotations

from vllmperf.scrape.text import samples

INFO = "vllm:cache_config_info"


def block_size(text: str) -> int | None:
    """None where the page does not say. Raises ValueError when it is no Prometheus text."""
    found = (sample.labels.get("block_size", "") for sample in samples(text) if sample.name == INFO)
    return next((int(value) for value in found if value.isdigit() and int(value) > 0), None)
