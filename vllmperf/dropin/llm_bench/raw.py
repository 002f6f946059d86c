"""Answers that the engine does not read itself: log probabilities, TGI, Together's JSON, embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vllmperf.dropin.llm_bench.options import Options


class UnreadableError(Exception):
    """An event is not what it should be; says which one."""


@dataclass(frozen=True)
class Part:
    """What one event says. logprobs: tokens with log probabilities; usage: (prompt, completion) tokens."""

    text: str = ""
    logprobs: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class Reading:
    """All events of an answer. first: index of the first event that brought text."""

    text: str
    first: int | None
    tokens: int | None
    prompt_tokens: int | None


def read(provider: str, options: Options, events: Sequence[str]) -> Reading:
    """Put the events together. Raises UnreadableError for one that is no JSON or lacks what it must have."""
    parts = [_part(provider, options, event) for event in events]
    logprobs = [part.logprobs for part in parts if part.logprobs]
    told = [part.output_tokens for part in parts if part.output_tokens]
    prompts = [part.prompt_tokens for part in parts if part.prompt_tokens]
    return Reading(
        text="".join(part.text for part in parts),
        first=next((i for i, part in enumerate(parts) if part.text), None),
        tokens=sum(logprobs) if logprobs else told[-1] if told else None,
        prompt_tokens=prompts[-1] if prompts else None,
    )


def _part(provider: str, options: Options, event: str) -> Part:
    if options.streams and event.strip() == "[DONE]":
        return Part()
    try:
        data = json.loads(event)
        if data.get("error"):
            raise ValueError(data["error"])
        if options.embeddings:
            return Part()
        return _tgi(data) if provider == "tgi" else _openai(data, provider, options)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UnreadableError(f"{event.encode()!r} with error {error!r}") from None


def _tgi(data: dict[str, Any]) -> Part:
    if "token" in data:
        return Part(str(data["token"]["text"]), logprobs=1)
    details = data.get("details")
    if not details:
        return Part(str(data["generated_text"]))
    return Part(
        str(data["generated_text"]),
        logprobs=len(details["tokens"]),
        output_tokens=details["generated_tokens"],
    )


def _openai(data: dict[str, Any], provider: str, options: Options) -> Part:
    if provider == "together" and not options.stream:
        data = data["output"]
    usage = data.get("usage") or {}
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    choices = data["choices"]
    if not choices:
        return Part("", None, *counts)
    if len(choices) != 1:
        raise ValueError(f"Too many choices {len(choices)}")
    choice = choices[0]
    return Part(_text(choice, options), _logprobs(choice), *counts)


def _text(choice: dict[str, Any], options: Options) -> str:
    if not options.chat:
        return _words(choice["text"])
    block = choice["delta" if options.stream else "message"]
    names = ("content",) if options.is_old else ("reasoning", "reasoning_content", "content")
    return "".join(_words(block.get(name)) for name in names)


def _words(value: Any) -> str:
    """A text; that of content parts too."""
    if isinstance(value, list):
        return "".join(_words(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _logprobs(choice: dict[str, Any]) -> int | None:
    """Completions list `tokens`, chat lists `content`."""
    found = choice.get("logprobs")
    if not found:
        return None
    return len(found["tokens"] if "tokens" in found else found["content"] or ())
