"""What a server says of its own settings, where it says so."""

from __future__ import annotations

import json
import re
from typing import Any

from vllmperf.target import AnswerError, Client

NAME = "max_num_seqs"
IN_TEXT = re.compile(r"\bmax_num_seqs['\"]?\s*[=:]\s*(\d+)")


def max_num_seqs(client: Client) -> int | None:
    """From GET /server_info, which vLLM has with VLLM_SERVER_DEV_MODE=1; None when the server does not say.

    Newer versions give their settings as JSON when asked for `config_format=json`, older ones as one text.
    """
    for path in ("/server_info?config_format=json", "/server_info"):
        try:
            text = client.get(path).decode(errors="replace")
        except AnswerError:
            continue
        found = _in_json(text) or _in_text(text)
        if found:
            return found
    return None


def _in_json(text: str) -> int | None:
    try:
        return _search(json.loads(text))
    except ValueError:
        return None


def _search(value: Any) -> int | None:
    """The first number of that name, at any depth."""
    if isinstance(value, dict):
        own = value.get(NAME)
        if isinstance(own, int) and not isinstance(own, bool) and own > 0:
            return own
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for one in inner if (found := _search(one)) is not None), None)


def _in_text(text: str) -> int | None:
    match = IN_TEXT.search(text)
    return int(match.group(1)) if match and int(match.group(1)) > 0 else None
