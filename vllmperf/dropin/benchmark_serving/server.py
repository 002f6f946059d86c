"""Small questions to the server beside the load: models, counters, the profiler."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any

from vllmperf.scrape.text import samples
from vllmperf.target import AnswerError, Client, models

PROFILER_S = 600.0
"""A profiler writes what it has before it answers."""


def first_model(client: Client) -> tuple[str, str]:
    """(id, root) of the first model that the server lists. Raises TargetError."""
    first = models(client)[0]
    return str(first["id"]), str(first.get("root") or first["id"])


def profiler(client: Client, path: str, body: bytes) -> bool:
    """Start or stop the server's profiler; whether it did."""
    with contextlib.suppress(AnswerError):
        client.post(path, body, timeout_s=PROFILER_S)
        return True
    return False


# ---- counters of speculative decoding and of diffusion models ----

NAME = re.compile(r"vllm:(?P<family>spec_decode|diffusion)_(?P<name>\w+)_total")

Counters = dict[str, int]
"""Name (with `/position` behind it) → sum over all label sets. Empty: the server has none."""


def counters(client: Client, family: str) -> Counters:
    """The server's counters of one family now."""
    with contextlib.suppress(AnswerError, ValueError):
        return parse_counters(client.get("/metrics").decode("utf-8", "replace"), family)
    return {}


def parse_counters(text: str, family: str) -> Counters:
    """The counters vllm:{family}_*_total of a Prometheus text. Raises ValueError when it is none."""
    found: Counters = {}
    for sample in samples(text):
        match = NAME.fullmatch(sample.name)
        if not match or match["family"] != family or not math.isfinite(sample.value):
            continue
        position = sample.labels.get("position")
        name = match["name"] + (f"/{position}" if position else "")
        found[name] = found.get(name, 0) + int(sample.value)
    return found


def speculation(before: Counters, after: Counters) -> dict[str, Any] | None:
    """What speculative decoding did between two looks, None when it did nothing."""
    if not before or not after:
        return None
    drafts, tokens, accepted = (
        after.get(name, 0) - before.get(name, 0)
        for name in ("num_drafts", "num_draft_tokens", "num_accepted_tokens")
    )
    if tokens <= 0:
        return None
    prefix = "num_accepted_tokens_per_pos/"
    places = sorted(int(name[len(prefix) :]) for name in {*before, *after} if name.startswith(prefix))
    per_place = [
        (after.get(f"{prefix}{place}", before.get(f"{prefix}{place}", 0)) - before.get(f"{prefix}{place}", 0))
        / drafts
        for place in places
        if drafts > 0
    ]
    return {
        "acceptance_rate": accepted / tokens * 100,
        "acceptance_length": 1 + accepted / drafts if drafts > 0 else 0.0,
        "num_drafts": drafts,
        "draft_tokens": tokens,
        "accepted_tokens": accepted,
        "per_position_acceptance_rates": per_place,
    }


def diffusion(before: Counters, after: Counters, duration_s: float) -> dict[str, Any] | None:
    """What a diffusion model did between two looks, None when it did nothing."""
    if not before or not after:
        return None
    steps, places, committed = (
        after.get(name, 0) - before.get(name, 0)
        for name in ("num_denoising_steps", "num_canvas_positions", "num_committed_tokens")
    )
    if steps <= 0 or committed <= 0 or places <= 0:
        return None
    canvases = committed / (places / steps)
    denoising = steps - canvases
    return {
        "committed_throughput": committed / duration_s,
        "steps_per_canvas": denoising / canvases,
        "committed_per_step": committed / denoising if denoising else 0.0,
        "committed_tokens": committed,
        "denoising_steps": int(denoising),
        "canvas_positions": places,
    }
