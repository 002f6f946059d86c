"""A model's tokenizer.json, read. Needs the extra `tokenizers`."""

from __future__ import annotations

from typing import Any

from vllmperf import hub
from vllmperf.errors import SettingError


def load(folder: str) -> Any:
    """The `tokenizers.Tokenizer` of a model folder, a file, or a model of the Hugging Face hub.

    UsageError when the package or the file is missing.
    """
    try:
        from tokenizers import Tokenizer as Loaded
    except ImportError:
        raise SettingError("{tokenizer} needs its extra: pip install 'vllmperf[tokenizers]'") from None
    path = hub.model_folder(folder)
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise SettingError(
            "{tokenizer} {folder}: there is no {path}; give a folder with a tokenizer.json, or the name of a model "
            "of the Hugging Face hub",
            folder=folder,
            path=path,
        )
    try:
        return Loaded.from_file(str(path))
    except Exception as error:  # the package raises nothing narrower
        raise SettingError(
            "{tokenizer} {folder}: cannot read {path} ({error})", folder=folder, path=path, error=error
        ) from None
