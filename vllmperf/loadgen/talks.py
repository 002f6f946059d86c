"""A conversation under way: what its next request says, and the real answers so far (docs/conversations.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

from vllmperf import datasets
from vllmperf.datasets import Conversation, Prompt
from vllmperf.datasets.dataset import BETWEEN_TURNS, Ask
from vllmperf.loadgen.bodies import spec_of
from vllmperf.plan import Plan


class Talk(Protocol):
    """One session. turn: number of the next one, from 0; n: turns in all."""

    turn: int
    n: int

    def next(self) -> Prompt:
        """The next turn: the JSON of the field for the prompt, and the lengths."""

    def hear(self, answer: str) -> None:
        """The answer to it has come."""


class _Talk:
    def __init__(self, conversation: Conversation) -> None:
        self._conversation, self.turn, self.n = conversation, 0, len(conversation.asks)

    def next(self) -> Prompt:
        """How long a prompt with answers in it is, only the server knows."""
        ask, said = self._conversation.asks[self.turn], self._said()
        length = self._conversation.system_len + ask.input_len if self.turn == 0 else None
        self.turn += 1
        return Prompt(json.dumps(said, separators=(",", ":")), ask.output_len, length)

    def _said(self) -> Any:
        raise NotImplementedError

    def _ask(self) -> Ask:
        return self._conversation.asks[self.turn]


class Completions(_Talk):
    """All that was said and answered as one text, each answer right behind its prompt, as the server made it."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__(conversation)
        self._text = conversation.system or ""

    def _said(self) -> str:
        self._text += (BETWEEN_TURNS if self._text else "") + self._ask().text
        return self._text

    def hear(self, answer: str) -> None:
        self._text += answer


class Chat(_Talk):
    """Messages: system, then user and assistant in turn."""

    def __init__(self, conversation: Conversation, is_plain: bool) -> None:
        super().__init__(conversation)
        self._is_plain = is_plain
        system = conversation.system
        self._messages: list[dict[str, Any]] = [] if system is None else [_message("system", system)]

    def _said(self) -> list[dict[str, Any]]:
        text = self._ask().text
        self._messages.append(_message("user", text if self._is_plain else [{"type": "text", "text": text}]))
        return self._messages

    def hear(self, answer: str) -> None:
        self._messages.append(_message("assistant", answer))


def _message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def talks(plan: Plan) -> Iterator[Talk]:
    """The sessions of a plan, in order, with its salt."""
    for conversation in datasets.sessions(spec_of(plan)):
        salted = _salted(conversation, plan.workload.prompt_salt)
        if plan.target.is_chat:
            yield Chat(salted, plan.workload.string_content)
        else:
            yield Completions(salted)


def _salted(conversation: Conversation, salt: str | None) -> Conversation:
    if salt is None:
        return conversation
    if conversation.system is not None:
        return conversation._replace(system=f"[{salt}] {conversation.system}")
    first, *others = conversation.asks
    return conversation._replace(asks=(first._replace(text=f"[{salt}] {first.text}"), *others))
