"""Small questions to the server beside the load: models, tokens, counters, the profiler."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllmperf import hints
from vllmperf.errors import TargetError
from vllmperf.load import ask
from vllmperf.load.encoding import decoded
from vllmperf.load.redirects import Redirects
from vllmperf.plan import Plan
from vllmperf.server_words import said

ANSWER_S = 60.0
MOST_WORDS = 500
"""Of an answer that is no list of models, in characters."""


class RefusedError(Exception):
    """An answer that is none: its status (0 when there was no answer at all), its reason, what the server said."""

    def __init__(self, status: int, reason: str, words: str = "") -> None:
        super().__init__(f"{status} {reason}" if status else reason)
        self.status, self.words = status, words


@dataclass(frozen=True, slots=True)
class Server:
    """Where the small questions go."""

    base_url: str
    plan: Plan
    headers: Mapping[str, str] = field(default_factory=dict)

    def get(self, path: str) -> bytes:
        return self._ask(path, None, {})

    def post(self, path: str, body: bytes) -> bytes:
        return self._ask(path, body, {"Content-Type": "application/json"})

    def _ask(self, path: str, body: bytes | None, more: Mapping[str, str]) -> bytes:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ask.tls(self.plan)),
            Redirects(),
        )
        asked = urllib.request.Request(self.base_url + path, data=body, headers={**self.headers, **more})
        try:
            with opener.open(asked, timeout=ANSWER_S) as answer:
                return decoded(answer.read(), answer.headers.get("Content-Encoding"))
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(error.code, str(error.reason), ask.words_of(error)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise RefusedError(0, str(getattr(error, "reason", None) or error)) from None


def first_model(server: Server) -> tuple[str, str]:
    """(id, root) of the first model that the server lists. Raises TargetError."""
    url = server.base_url + "/v1/models"
    try:
        listed = server.get("/v1/models")
    except RefusedError as refused:
        words = f"{refused}: {refused.words}" if refused.words else str(refused)
        raise TargetError(f"cannot fetch models from {url}: {words}; {_hint(server, url, refused)}") from None
    try:
        first = json.loads(listed)["data"][0]
        return str(first["id"]), str(first.get("root") or first["id"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        words = said(listed.decode(errors="replace")) or "its answer is empty"
        raise TargetError(f"{url} names no model ({words[:MOST_WORDS]}); give --model") from None


def _hint(server: Server, url: str, refused: RefusedError) -> str:
    if not refused.status:
        return hints.of_tls(str(refused)) or "is the server up and --base-url right? Or give --model"
    plan = {**server.plan.to_dict(), "authorized": "Authorization" in server.headers}
    return hints.of_question(plan, url, refused.status, refused.words)


def profiler(server: Server, path: str, body: bytes) -> bool:
    """Start or stop the server's profiler; whether it did."""
    with contextlib.suppress(RefusedError):
        server.post(path, body)
        return True
    return False


# ---- counters of speculative decoding and of diffusion models ----

LINE = re.compile(
    r"^vllm:(?P<family>spec_decode|diffusion)_(?P<name>\w+)_total(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)"
)
POSITION = re.compile(r'position="(\d+)"')

Counters = dict[str, int]
"""Name (with `/position` behind it) → sum over all label sets. Empty: the server has none."""


def counters(server: Server, family: str) -> Counters:
    """The server's counters of one family now."""
    with contextlib.suppress(RefusedError):
        return parse_counters(server.get("/metrics").decode("utf-8", "replace"), family)
    return {}


def parse_counters(text: str, family: str) -> Counters:
    """The counters vllm:{family}_*_total of a Prometheus text."""
    found: Counters = {}
    for line in text.splitlines():
        match = LINE.match(line)
        if not match or match["family"] != family:
            continue
        position = POSITION.search(match["labels"] or "")
        name = match["name"] + (f"/{position[1]}" if position else "")
        with contextlib.suppress(ValueError):
            found[name] = found.get(name, 0) + int(float(match["value"]))
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
