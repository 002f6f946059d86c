"""How much of the prompts the server's prefix cache held: what was asked for, what the prompts allow, what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from vllmperf.metrics.view import Completed


class PrefixCache(TypedDict):
    """Rates are shares of the prompt tokens. allowed: by the hashes of the prompts' blocks, in a cache that forgets nothing and
    that holds their common prefixes. seen_by: "counters" of the server, or "usage" of its answers. primed: prefixes that were
    sent before the run; was_reset: the cache was emptied before. Of a trace asked is None, and its hashes allow."""

    asked: float | None
    allowed: float | None
    seen: float | None
    seen_by: str | None
    block_size: int
    primed: int
    was_reset: bool


def prefix_cache(done: Completed, server: Mapping[str, Any] | None) -> PrefixCache | None:
    """None unless a hit rate was asked for, or the data say what can be found of them."""
    facts = done.recording.plan.get("prefix_cache")
    if not facts:
        return None
    counted, used = _by_counters(server), _by_usage(done)
    return {
        "asked": facts["asked"],
        "allowed": facts["allowed"],
        "seen": used if counted is None else counted,
        "seen_by": "counters" if counted is not None else "usage" if used is not None else None,
        "block_size": facts["block_size"],
        "primed": facts["primed"],
        "was_reset": facts["was_reset"],
    }


def _by_counters(server: Mapping[str, Any] | None) -> float | None:
    """An engine whose cache is off asks it for nothing: then all of its prompt tokens stand for the queries."""
    if not server or server["prefix_hits"] is None:
        return None
    queries = server["prefix_queries"] or server["prompt_tokens"]
    return float(server["prefix_hits"] / queries) if queries else None


def _by_usage(done: Completed) -> float | None:
    """vLLM's usage is silent of a prompt that was not in the cache, so it tells something as soon as it tells of one."""
    cached, prompt = done.field("cached_tokens"), done.field("prompt_tokens")
    rows = prompt > 0
    if np.isnan(cached[rows]).all():
        return None
    return float(np.nansum(cached[rows]) / prompt[rows].sum())
