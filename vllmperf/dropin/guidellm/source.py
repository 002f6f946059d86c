"""Where prompts come from: what every kind of --data gives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt. content: as JSON for the request; shown: as text for the report. Lengths in tokens, None unknown."""

    content: str
    shown: str
    prompt_tokens: int | None = None
    output_tokens: int | None = None

    @staticmethod
    def of_text(text: str, prompt_tokens: int | None = None, output_tokens: int | None = None) -> Item:
        return Item(json.dumps(text), text, prompt_tokens, output_tokens)


class Source(Protocol):
    """`count` different prompts, which come again and again when a run needs more."""

    @property
    def count(self) -> int: ...
    def item(self, number: int) -> Item: ...


@dataclass(frozen=True, slots=True)
class From:
    """The prompts of a source from a place on, and those before it at the end."""

    source: Source
    first: int

    @property
    def count(self) -> int:
        return self.source.count

    def item(self, number: int) -> Item:
        return self.source.item((self.first + number) % self.source.count)


@dataclass(frozen=True, slots=True)
class Items:
    """Prompts that were read or made beforehand."""

    items: list[Item]

    @property
    def count(self) -> int:
        return len(self.items)

    def item(self, number: int) -> Item:
        return self.items[number]
