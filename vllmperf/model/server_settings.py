"""What a server says of its own settings, where it says so."""

from __future__ import annotations

import json
import re
from typing import Any

from vllmperf.scrape.text import samples
from vllmperf.target import AnswerError, Client

CACHE = "vllm:cache_config_info"


def setting(client: Client, name: str) -> int | None:
    """A number from GET /server_info, which vLLM has with VLLM_SERVER_DEV_MODE=1; None when the server does not say.

    Newer versions give their settings as JSON when asked for `config_format=json`, older ones as one text.
    """
    for path in ("/server_info?config_format=json", "/server_info"):
        try:
            text = client.get(path).decode(errors="replace")
        except AnswerError:
            continue
        found = _in_json(text, name) or _in_text(text, name)
        if found:
            return found
    return None


def kv_cache_tokens(client: Client) -> int | None:
    """How many tokens the KV cache of the server holds, from `vllm:cache_config_info` of /metrics; None without it, and
    for several engines at one address."""
    try:
        found = [one for one in samples(client.get("/metrics").decode(errors="replace")) if one.name == CACHE]
        sizes = [int(one.labels["num_gpu_blocks"]) * int(one.labels["block_size"]) for one in found]
    except (AnswerError, ValueError, KeyError):
        return None
    return sizes[0] if len(sizes) == 1 and sizes[0] > 0 else None


def _in_json(text: str, name: str) -> int | None:
    try:
        return _search(json.loads(text), name)
    except ValueError:
        return None


def _search(value: Any, name: str) -> int | None:
    """The first number of that name, at any depth."""
    if isinstance(value, dict):
        own = value.get(name)
        if isinstance(own, int) and not isinstance(own, bool) and own > 0:
            return own
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for one in inner if (found := _search(one, name)) is not None), None)


def _in_text(text: str, name: str) -> int | None:
    match = re.search(rf"\b{name}['\"]?\s*[=:]\s*(\d+)", text)
    return int(match.group(1)) if match and int(match.group(1)) > 0 else None
