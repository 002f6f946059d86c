"""The tokenizer of a model folder. Needs the extra `tokenizers`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vllmperf.errors import UsageError

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
