"""Finds what vLLM and uvicorn say in lines of unknown form, by the words alone."""

from __future__ import annotations

import re
from functools import lru_cache

from vllmperf.starts.log.markers import MARKERS, find

LONGEST_PREFIX = 200  # characters
SHORTEST_WORDS = 16

_UVICORN = re.compile(
    r"(?P<said>Application (?:startup|shutdown) complete\.|Waiting for application (?:startup|shutdown)\."
    r"|(?:Started|Finished) server process \[\d{1,12}\]"
    r"|Uvicorn running on \S{1,300}(?: \(Press CTRL\+C to quit\))?)"
    r"(?P<rest>(?: {2,}[\w.]{1,60}:\d{1,6})?[\s│┃║▏▕|\"'}\])]*+)$"
)
ACCESS = re.compile(r'\S++ - "[A-Z]++ \S++ HTTP/\d')
"""A request as uvicorn's access log shows it."""
_TAIL = 1000  # characters at a line's end that may hold what uvicorn says and a border of a pane
_PROSE = re.compile(
    r"(?i)(?:^|\s)(?:for|until|wait|waiting|when|see|seen|is|was|the|a|an|to|print(?:s|ed)?|shows?|find|grep|echo"
    r"|contains?|strings?|says?|said|like|not|of|after|before|and|or|with)(?=\s)"
)
_BAR = re.compile(r"\d%\||it/s|s/it|row/s|B/s")
_QUOTED = re.compile(r"(?:[=:,]\s?|[=:,{]\s?\\)[\"']$")


def _heads() -> tuple[str, ...]:
    """The fixed words that a start's telling lines begin with."""
    heads = {
        marker.start.strip() for marker in MARKERS if marker.logger == "vllm" and marker.event in _TEACHERS
    }
    long = [head for head in heads if len(head) >= SHORTEST_WORDS or "█" in head]
    return tuple(sorted(h for h in long if not any(h != other and h.startswith(other) for other in long)))


_TEACHERS = frozenset(
    (
        *("platform", "api_version", "server_version", "banner_version", "args", "architecture"),
        *("max_model_len", "chunked_prefill", "engine_waiting", "engine_config", "load_start", "download"),
        *("weights_took", "hpu_loaded", "model_loaded", "dynamo", "compile_total", "kv_available"),
        *("kv_tokens", "blocks", "captured", "engine_done", "server_start", "failed", "died"),
    )
)
_HEADS = re.compile("|".join(map(re.escape, _heads())))
BEGINNING = LONGEST_PREFIX + 100  # characters of a line that `vllm` looks at


def uvicorn(text: str) -> int | None:
    """Where a line of uvicorn's begins to say one of its fixed sentences, whatever stands around it; else None."""
    if "pplication s" not in text and "rver process [" not in text and "vicorn running on" not in text:
        return None
    start = max(0, len(text) - _TAIL)
    found = _UVICORN.search(text, start)
    if found is None or found.start() > LONGEST_PREFIX:
        return None
    return found.start() if is_label(text[: found.start()]) else None


@lru_cache(maxsize=2048)
def vllm(text: str) -> int | None:
    """Where a line's beginning says what vLLM says in a start, behind something that may be a prefix; else None."""
    found = _HEADS.search(text)
    if found is None:
        return None
    at = found.start()
    at = at - 1 if text[at] in "▄█" and at and text[at - 1] == " " else at
    return at if is_label(text[:at]) and find(text[at:]) is not None else None


def is_label(prefix: str) -> bool:
    """Whether a text can be what a logger or a collector puts before a message: no prose, no code, no bar."""
    if len(prefix) > LONGEST_PREFIX or _BAR.search(prefix) or _PROSE.search(prefix):
        return False
    if prefix[-1:] in ("'", '"'):
        return _QUOTED.search(prefix) is not None
    return prefix[-1:] not in ("`", "“", "‘", "(", "/")


@lru_cache(maxsize=1024)
def files() -> frozenset[str]:
    """All source files that print markers."""
    return frozenset(name for marker in MARKERS for name in marker.files)


__all__ = ["ACCESS", "BEGINNING", "files", "is_label", "uvicorn", "vllm"]
