"""Synthetic data: the string of --data, lengths drawn as guidellm draws them, prompts of token ids or text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.datasets.made_up import SAFE_IDS, Alphabet
from vllmperf.datasets.synthetic import lengths, texts
from vllmperf.dropin.guidellm.source import Item, Items, Source
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

PATH_MAX = 4096
FILES = (".config", ".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a synthetic data string says; lengths in tokens. source: taken, but prompts are drawn ids anyway."""

    prompt_tokens: int
    output_tokens: int
    prefix_tokens: int = 0
    prompt_tokens_stdev: int | None = None
    prompt_tokens_min: int | None = None
    prompt_tokens_max: int | None = None
    output_tokens_stdev: int | None = None
    output_tokens_min: int | None = None
    output_tokens_max: int | None = None
    samples: int = 1000
    source: str = ""

    def lengths(self, of: str, seed: int) -> Iterator[int]:
        """Lengths of prompts or outputs without end, the same for the same seed as in guidellm 0.3."""
        mean, stdev, low, high = (
            getattr(self, f"{of}_tokens{end}") for end in ("", "_stdev", "_min", "_max")
        )
        return lengths(mean, stdev, low, high, seed)


NAMES = tuple(entry.name for entry in fields(Shape))
LATER = "kind=synthetic_text"
"""How strings of guidellm 0.7 begin."""


def is_synthetic(data: str) -> bool:
    """Whether --data describes data instead of naming them."""
    text = data.strip()
    begins = (*[name + "=" for name in NAMES], LATER)
    is_file = len(text) < PATH_MAX and Path(text).is_file()
    is_said = text.startswith(("{", *begins)) or text.count("=") > 1
    return text.endswith(FILES) or (is_said and not is_file)


def shape(data: str) -> Shape:
    """Read `prompt_tokens=128,output_tokens=128`, the same as JSON, or a YAML file. UsageError by name."""
    text = data.strip().removeprefix(LATER).lstrip(",")
    if text.startswith("{"):
        return _shape(_json(text))
    if text.endswith(FILES):
        return _shape(_file(Path(text)))
    pairs = [item.partition("=") for item in text.split(",") if item.strip()]
    bad = next((name for name, mark, _ in pairs if not mark), None)
    if bad is not None:
        raise UsageError(f"--data: {bad!r} has no =; write prompt_tokens=128,output_tokens=128")
    return _shape({name.strip(): value.strip() for name, _, value in pairs})


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"--data is no JSON ({error}): write prompt_tokens=128,output_tokens=128") from None


def _file(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(text_file.read(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"--data {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"--data {path} is no YAML: {' '.join(str(error).split())}") from None


def _shape(given: Any) -> Shape:
    if not isinstance(given, Mapping):
        raise UsageError("--data holds no pairs: write prompt_tokens=128,output_tokens=128")
    unknown = next((str(name) for name in given if name not in NAMES), None)
    if unknown is not None:
        raise UsageError(f"--data: {unknown} is not known here; there are {', '.join(NAMES)}")
    missing = [name for name in ("prompt_tokens", "output_tokens") if given.get(name) is None]
    if missing:
        raise UsageError(f"--data: {missing[0]} is missing; write prompt_tokens=128,output_tokens=128")
    read: dict[str, Any] = {
        name: str(value) if name == "source" else _number(name, value)
        for name, value in given.items()
        if value is not None
    }
    found = Shape(**read)
    for of in ("prompt", "output"):
        low, high = getattr(found, f"{of}_tokens_min"), getattr(found, f"{of}_tokens_max")
        if low is not None and high is not None and low > high:
            raise UsageError(f"--data: {of}_tokens_min {low} is above {of}_tokens_max {high}")
    return found


def _number(name: str, value: Any) -> int:
    least = 0 if name == "prefix_tokens" else 1
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or int(text) < least:
        raise UsageError(f"--data: {name} is {text!r}; give a whole number from {least} on")
    return int(text)


# ---- prompts ----


def source(found: Shape, seed: int, tokenizer: Tokens | None, is_chat: bool) -> Source:
    """The prompts: text of a tokenizer, else token ids, else (chat takes no ids) common words, about a token each."""
    prompts = list(islice(found.lengths("prompt", seed), found.samples))
    outputs = list(islice(found.lengths("output", seed + 1), found.samples))
    draw = random.Random(seed + 2)  # as guidellm: unlike those of the lengths
    if tokenizer is None:
        return Synthetic(found.prefix_tokens, prompts, outputs, draw, is_chat)
    made = zip(texts(tokenizer, prompts, found.prefix_tokens, draw), outputs, strict=True)
    return Items([Item.of_text(text, length, output) for (text, length), output in made])


class Synthetic:
    """Prompts made when they are asked for: neighbours in a circle of ids or words, from a drawn place on."""

    def __init__(
        self, prefix_tokens: int, prompts: list[int], outputs: list[int], draw: random.Random, is_chat: bool
    ) -> None:
        self._prompts, self._outputs, self._prefix = prompts, outputs, prefix_tokens
        self._is_text, self._alphabet = is_chat, Alphabet(takes_ids=not is_chat)
        prefix = self._alphabet.members([draw.randrange(len(SAFE_IDS)) for _ in range(prefix_tokens)])
        self._begun = self._alphabet.begun(prefix)
        self._offsets = [draw.randrange(len(SAFE_IDS)) for _ in prompts]

    @property
    def count(self) -> int:
        return len(self._prompts)

    def item(self, number: int) -> Item:
        length = self._prompts[number]
        content = self._alphabet.distinct(self._begun, number, self._offsets[number], length)
        shown = str(json.loads(content)) if self._is_text else content
        return Item(content, shown, self._prefix + length, self._outputs[number])
