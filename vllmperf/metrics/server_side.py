"""What the server counted during a run, beside what came: tokens, requests, preemptions, hits of its prefix cache."""

from typing import Any

from vllmperf.metrics.view import Completed, happened

WANTED = {
    "requests": "request_success_total",
    "prompt_tokens": "prompt_tokens_total",
    "generation_tokens": "generation_tokens_total",
    "preemptions": "num_preemptions_total",
    "prefix_queries": "prefix_cache_queries_total",
    "prefix_hits": "prefix_cache_hits_total",
}
"""Ours, and vLLM's counter."""


def server_side(done: Completed) -> dict[str, Any] | None:
    """The increase of each counter from before the run to after it, beside our own counts. None without the pages, and where
    a counter fell: the server was started again, or the two pages are of two servers."""
    before, after = done.server_pages
    if not before or not after or any(after.get(name, 0) < value for name, value in before.items()):
        return None
    found = {
        ours: after[theirs] - before.get(theirs, 0.0) if theirs in after else None
        for ours, theirs in WANTED.items()
    }
    return {
        **found,
        "our_requests": len(done.requests),
        "our_sent": len(happened(done.recording, "sent_ns")),
        "our_prompt_tokens": done.sum("prompt_tokens"),
        "our_output_tokens": done.sum("output_tokens"),
    }
