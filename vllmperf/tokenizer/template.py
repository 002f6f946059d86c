"""A model's chat template, rendered as transformers' apply_chat_template does. Needs the package jinja2."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.errors import SettingError, UsageError

FILE = "chat_template.jinja"


class ChatTemplate:
    """A compiled template and the special tokens that it may name."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self._compiled: Any = _compiled(source)
        self._special_tokens = special_tokens

    @classmethod
    def of(cls, folder: Path, config: Mapping[str, Any], special_tokens: Mapping[str, str]) -> ChatTemplate:
        """The template of a model folder: a file of its own, else of tokenizer_config.json."""
        path = folder / FILE
        source = _read(path) if path.is_file() else _default(config.get("chat_template"))
        if not source:
            raise SettingError(
                "{tokenizer} {folder}: the model has no chat template; give {skip_chat_template} or another data set",
                folder=folder,
            )
        return cls(source, special_tokens)

    def render(self, messages: Sequence[Mapping[str, Any]], **more: Any) -> str:
        """The text, with the beginning of an answer."""
        known = {"tools": None, "documents": None, "add_generation_prompt": True, **self._special_tokens}
        try:
            return str(self._compiled.render(messages=messages, **{**known, **more}))
        except Exception as error:  # templates raise what they like
            raise SettingError(
                "the chat template of {tokenizer} refuses the prompt: {error}", error=error
            ) from None


def _read(path: Path) -> str:
    try:
        return text_file.read(path)
    except (OSError, text_file.NoTextError) as error:
        raise SettingError("{tokenizer}: cannot read {path} ({error})", path=path, error=error) from None


def _default(found: Any) -> str | None:
    """One template, or the one named default of several."""
    if isinstance(found, list):
        found = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
    if isinstance(found, dict):
        found = found.get("default")
    return found if isinstance(found, str) else None


def _compiled(source: str) -> Any:
    try:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise UsageError("chat templates need jinja2: pip install 'vllmperf[tokenizers]'") from None
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise SettingError("the chat template of {tokenizer} is none: {error}", error=error) from None


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def _refuse(message: str) -> None:
    raise ValueError(message)
