"""What an answer is made of, and what a careful reader makes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

DONE = b"data: [DONE]\n\n"
WORDS = ("Hi", " there", "!")
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


@dataclass(frozen=True)
class Case:
    """A body and what it says. first: bytes of the first token chunk. words: what the error holds."""

    body: bytes
    text: str = "Hi there!"
    chunks: int = 3
    tokens: int | None = 3
    source: str = "usage"
    first: int | None = 2
    outcome: str = "completed"
    kind: str = "text/event-stream"
    words: str = ""
    cached: int | None = None
    prompt: int | None = 9


def event(found: Any) -> bytes:
    return b"data: %s\n\n" % (found if isinstance(found, bytes) else json.dumps(found).encode())


def chunk(delta: Any, finish: Any = None, **more: Any) -> bytes:
    """An event of a chat; more: members beside choices."""
    return event(
        {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            **more,
        }
    )


def said(*words: str) -> bytes:
    return b"".join(chunk({"content": word}) for word in words)


def usage(**more: Any) -> bytes:
    return event({"choices": [], "usage": {**USAGE, **more}})


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({}, "stop")
PLAIN = ROLE + said(*WORDS) + STOP + usage() + DONE
COUNTED = {"source": "chunks", "prompt": None}
"""Of answers without usage."""


def each(words: Any, **more: Any) -> bytes:
    """An event a word; more: members made from its number, from 1."""
    return b"".join(
        chunk({"content": word}, **{key: make(i) for key, make in more.items()})
        for i, word in enumerate(words, 1)
    )


def running(i: int) -> dict[str, int]:
    return {"prompt_tokens": 9, "completion_tokens": i, "total_tokens": 9 + i}
