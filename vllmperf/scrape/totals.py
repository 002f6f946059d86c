"""What a server has counted so far, by its page of metrics; the difference of two pages is what it did between them."""

from __future__ import annotations

from vllmperf.errors import VllmperfError
from vllmperf.scrape.text import samples
from vllmperf.target import Client

PREFIX = "vllm:"
COUNTED = ("_total", "_sum", "_count")
PATIENCE_S = 2.0
"""A page that takes longer is left out: a run must not wait for it."""


def totals(text: str) -> dict[str, float]:
    """Counters, and sums and counts of histograms, by name, each summed over its labels (engines, models, reasons).

    Raises ValueError when the page is no Prometheus text.
    """
    found: dict[str, float] = {}
    for sample in samples(text):
        if sample.name.startswith(PREFIX) and sample.name.endswith(COUNTED):
            name = sample.name.removeprefix(PREFIX)
            found[name] = found.get(name, 0.0) + sample.value
    return found


def ask(client: Client) -> dict[str, float] | None:
    """The totals of a server now; None when it has no such page, or none of vLLM's."""
    try:
        return totals(client.get("/metrics", timeout_s=PATIENCE_S).decode(errors="replace")) or None
    except (VllmperfError, ValueError):
        return None
