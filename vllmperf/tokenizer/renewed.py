"""Tokenizers that transformers 5 does not take from tokenizer.json as they stand there.

A model that names the class LlamaTokenizer (Llama 2, TinyLlama) gets that class's own splitting: a text that begins with
a blank gets no second one in front.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

CLASSES = ("LlamaTokenizer", "LlamaTokenizerFast")
BLANK = "\N{LOWER ONE EIGHTH BLOCK}"


def renew(loaded: Any, config: Mapping[str, Any]) -> None:
    """Change a `tokenizers.Tokenizer` as transformers 5 does; config: the model's tokenizer_config.json."""
    if config.get("tokenizer_class") not in CLASSES or not _puts_blank_first(loaded):
        return
    from tokenizers import pre_tokenizers

    scheme = "always" if config.get("legacy", False) else "first"
    if config.get("add_prefix_space") is False:
        scheme = "never"
    loaded.normalizer = None
    loaded.pre_tokenizer = pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme=scheme, split=False)


def _puts_blank_first(loaded: Any) -> bool:
    """Whether blanks are marked by a normalizer: others that name this class by mistake are taken as they are."""
    if loaded.normalizer is None:
        return False
    state = json.loads(loaded.normalizer.__getstate__())
    steps = state.get("normalizers", [state])
    return any(step.get("type") == "Prepend" and step.get("prepend") == BLANK for step in steps)
