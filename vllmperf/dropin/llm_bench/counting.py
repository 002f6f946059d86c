"""Tokens of a text as transformers' AutoTokenizer counts them for 2024-10."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from vllmperf import hub, text_file
from vllmperf.dropin.llm_bench.options import Options
from vllmperf.tokenizer.tokens import Tokens

WITHOUT_SPECIAL = ("Llama", "Gemma", "Cohere")
"""Beginnings of the tokenizer classes that add no special tokens once `add_bos_token` is off, as llm_bench turns
it off; the others (Llama 3's among them) do not look at it."""


def token_count(options: Options) -> Callable[[str], int] | None:
    """What counts tokens; None when no tokenizer was named."""
    if not options.tokenizer:
        return None
    tokenizer = Tokens(options.tokenizer)
    special = not _class(hub.model_folder(options.tokenizer)).startswith(WITHOUT_SPECIAL)
    return lambda text: tokenizer.count(text, special=special)


def _class(folder: Path) -> str:
    try:
        config = json.loads(text_file.read(folder / "tokenizer_config.json"))
        return str(config["tokenizer_class"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
