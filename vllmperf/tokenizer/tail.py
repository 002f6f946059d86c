"""Decoding and encoding the end of a long text only.

A byte-level BPE splits a text into words from left to right and encodes each by itself. What follows the start
of a word therefore encodes to the same ids whatever stands before it, and a text that changes at its end need not
be encoded whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

KEPT_WORDS = 4
"""Words of the tail that are never changed, so that its first ones split as before."""
KEPT_TOKENS = 12
SPLITTING = ("ByteLevel", "Split", "Digits", "Punctuation")


def is_local(loaded: Any) -> bool:
    """Whether a `tokenizers.Tokenizer` splits and encodes as the rule above needs."""
    if loaded.normalizer is not None or type(loaded.model).__name__ != "BPE":
        return False
    decoder, splitter = _state(loaded.decoder), _state(loaded.pre_tokenizer)
    if decoder.get("type") != "ByteLevel":
        return False
    steps = splitter.get("pretokenizers", [splitter])
    return bool(steps) and all(_is_plain(step) for step in steps)


def _state(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = {} if part is None else json.loads(part.__getstate__())
    return found


def _is_plain(step: dict[str, Any]) -> bool:
    """No blank put in front, no look behind, nothing removed."""
    if step.get("type") not in SPLITTING or step.get("add_prefix_space"):
        return False
    if step["type"] != "Split":
        return True
    pattern = step.get("pattern", {}).get("Regex", "")
    return "(?<" not in pattern and step.get("behavior") == "Isolated" and not step.get("invert")


def place(words: Sequence[int | None], wanted: int) -> int | None:
    """Where to split ids (words: the number of each one's word) of which the first `wanted` stay.

    At the start of a word with enough behind it that is not cut off. None: nowhere.
    """
    kept = min(len(words), wanted)
    last = words[kept - 1] if kept else None
    if last is None:
        return None
    for at in range(kept - KEPT_TOKENS, 0, -1):
        own, before = words[at], words[at - 1]
        if own is not None and own != before and last - own >= KEPT_WORDS:
            return at
    return None
