"""Texts and their lengths in tokens, by the tokenizer of a model folder. Needs the extra `tokenizers`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllmperf.errors import UsageError

REPAIRS = 10
FILLER = " the"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def model_folder(name: str) -> Path:
    """The folder (or file) of that name, else the model of that name in the Hugging Face cache, if it is there."""
    if Path(name).exists() or not HUB_NAME.fullmatch(name):
        return Path(name)
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, local_files_only=True))
    except Exception:  # not installed, or not in the cache: the package has many ways to say so
        return Path(name)


def load(folder: str) -> Any:
    """The `tokenizers.Tokenizer` of a model folder or file. UsageError when the package or the file is missing."""
    try:
        from tokenizers import Tokenizer as Loaded
    except ImportError:
        raise UsageError("--tokenizer needs its extra: pip install 'vllmperf[tokenizers]'") from None
    path = model_folder(folder)
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise UsageError(
            f"--tokenizer {folder}: there is no {path}; give a folder with a tokenizer.json, or a model that is "
            "in the Hugging Face cache"
        )
    try:
        return Loaded.from_file(str(path))
    except Exception as error:  # the package raises nothing narrower
        raise UsageError(f"--tokenizer {folder}: cannot read {path} ({error})") from None


class Tokenizer:
    """The tokenizer.json of a model. Raises UsageError when the package or the file is missing."""

    def __init__(self, folder: str) -> None:
        self._loaded: Any = load(folder)
        self.vocab_size: int = self._loaded.get_vocab_size()

    def count(self, text: str, special: bool = True) -> int:
        """Tokens of a text; special: with those that the model puts around it."""
        return len(self._encoded(text, special))

    @property
    def special_count(self) -> int:
        """How many tokens the model puts around a text."""
        return int(self._loaded.num_special_tokens_to_add(False))

    def usual_ids(self) -> NDArray[np.int64]:
        """All ids but those of special tokens."""
        added = self._loaded.get_added_tokens_decoder()
        special = [number for number, token in added.items() if token.special]
        return np.setdiff1d(np.arange(self.vocab_size), np.asarray(special, dtype=np.int64))

    def text_of(self, ids: Sequence[int], generator: np.random.Generator) -> tuple[str, int]:
        """A text that encodes to as many tokens as there are ids, and how many it really encodes to.

        Decoding ids and encoding the text again seldom gives the same ids. As in `vllm bench serve` what
        is too long is cut, what is too short filled up with drawn ids, at most ten times.
        """
        wanted = len(ids)
        text = self._decoded(list(ids))
        for _ in range(REPAIRS):
            found = self._encoded(text, special=False)
            if len(found) == wanted:
                return text, wanted
            more = generator.integers(0, self.vocab_size, size=max(0, wanted - len(found))).tolist()
            text = self._decoded([*found[:wanted], *more])
        return self._filled(self._encoded(text, special=False), wanted)

    def _filled(self, ids: list[int], wanted: int) -> tuple[str, int]:
        """What drawn ids do not reach (they may be halves of a character), a plain word at the end mostly does."""
        kept, text, length = wanted, "", 0
        for _ in range(REPAIRS):
            text = self._decoded(ids[:kept])
            missing = wanted - self.count(text, special=False)
            text += FILLER * max(0, missing)
            length = self.count(text, special=False)
            if length == wanted:
                break
            kept = max(0, kept - max(1, length - wanted))
        return text, length

    def _decoded(self, ids: list[int]) -> str:
        return str(self._loaded.decode(ids, skip_special_tokens=False))

    def _encoded(self, text: str, special: bool) -> list[int]:
        # a lone surrogate, which JSON can carry, is no Unicode text for the tokenizer
        clean = text.encode("utf-8", "replace").decode()
        return list(self._loaded.encode(clean, add_special_tokens=special).ids)
