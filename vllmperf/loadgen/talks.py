"""A conversation under way: which turns may leave, what each says, and the real answers so far (docs/conversations.md)."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from vllmperf import datasets
from vllmperf.datasets import Conversation, Prompt
from vllmperf.datasets.dataset import BETWEEN_TURNS, Ask
from vllmperf.loadgen.bodies import spec_of
from vllmperf.plan import Plan

Messages = list[dict[str, Any]]
Said = TypeVar("Said", str, Messages)


class Talk(ABC, Generic[Said]):
    """One session. n: its turns, which have numbers from 0. What was said up to a turn is kept as long as another turn continues
    it."""

    def __init__(self, conversation: Conversation) -> None:
        self._asks, self.n = conversation.asks, len(conversation.asks)
        self._system_len = conversation.system_len
        self._system: Said = self.begun(conversation.system)
        self._after = [_after(number, ask) for number, ask in enumerate(self._asks)]
        self._missing = [set(after) for after in self._after]
        self._continued = Counter(base for turn in range(self.n) if (base := self._base(turn)) is not None)
        self._said: dict[int, Said] = {}
        self._quoted = Counter(quoted for each in self._asks for quoted in each.answers_of)
        self._answers: dict[int, str] = {}  # of turns that another one will quote

    # ---- what the kinds do ----

    @abstractmethod
    def begun(self, system: str | None) -> Said:
        """What stands before the first turn."""

    @abstractmethod
    def asked(self, said: Said, text: str) -> Said:
        """With what comes new."""

    @abstractmethod
    def answered(self, said: Said, answer: str) -> Said:
        """With the answer to it."""

    # ---- the course of the session ----

    def first(self) -> list[int]:
        """Turns that wait for no answer."""
        return [turn for turn in range(self.n) if not self._missing[turn]]

    def prompt(self, turn: int) -> Prompt:
        """The JSON of the field for the prompt, and the lengths. How long one with answers in it is, only the server knows."""
        ask: Ask = self._asks[turn]
        base = self._base(turn)
        text = "\n".join([*map(self._quote, ask.answers_of), ask.text])
        said = self.asked(self._system if base is None else self._taken(base), text)
        self._said[turn] = said
        length = self._system_len + ask.input_len if base is None and not ask.answers_of else None
        return Prompt(json.dumps(said, separators=(",", ":")), ask.output_len, length)

    def hear(self, turn: int, answer: str) -> list[int]:
        """The answer to a turn has come: the turns that waited for it alone."""
        said = self._said.pop(turn)
        if self._continued[turn]:
            self._said[turn] = self.answered(said, answer)
        if self._quoted[turn]:
            self._answers[turn] = answer
        waiting = [number for number in range(self.n) if turn in self._missing[number]]
        for number in waiting:
            self._missing[number].remove(turn)
        return [number for number in waiting if not self._missing[number]]

    def wait_s(self, turn: int) -> float | None:
        return self._asks[turn].wait_s

    def _base(self, turn: int) -> int | None:
        after = self._after[turn]
        return None if self._asks[turn].is_fresh or not after else after[0]

    def _quote(self, turn: int) -> str:
        self._quoted[turn] -= 1
        return self._answers[turn] if self._quoted[turn] else self._answers.pop(turn)

    def _taken(self, base: int) -> Said:
        self._continued[base] -= 1
        return self._said[base] if self._continued[base] else self._said.pop(base)


def _after(number: int, ask: Ask) -> tuple[int, ...]:
    if ask.after is not None:
        return ask.after
    return (number - 1,) if number else ()


class Completions(Talk[str]):
    """All that was said and answered as one text, each answer right behind its prompt, as the server made it."""

    def begun(self, system: str | None) -> str:
        return system or ""

    def asked(self, said: str, text: str) -> str:
        return f"{said}{BETWEEN_TURNS if said else ''}{text}"

    def answered(self, said: str, answer: str) -> str:
        return said + answer


class Chat(Talk[Messages]):
    """Messages: system, then user and assistant in turn."""

    is_plain = False

    def begun(self, system: str | None) -> Messages:
        return [] if system is None else [_message("system", system)]

    def asked(self, said: Messages, text: str) -> Messages:
        return [*said, _message("user", text if self.is_plain else [{"type": "text", "text": text}])]

    def answered(self, said: Messages, answer: str) -> Messages:
        return [*said, _message("assistant", answer)]


class PlainChat(Chat):
    """Contents are plain strings."""

    is_plain = True


def _message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def talks(plan: Plan) -> Iterator[Talk[str] | Talk[Messages]]:
    """The sessions of a plan, in order, with its salt."""
    for conversation in datasets.sessions(spec_of(plan)):
        salted = _salted(conversation, plan.workload.prompt_salt)
        if not plan.target.is_chat:
            yield Completions(salted)
        else:
            yield (PlainChat if plan.workload.string_content else Chat)(salted)


def _salted(conversation: Conversation, salt: str | None) -> Conversation:
    if salt is None:
        return conversation
    if conversation.system is not None:
        return conversation._replace(system=f"[{salt}] {conversation.system}")
    first, *others = conversation.asks
    return conversation._replace(asks=(first._replace(text=f"[{salt}] {first.text}"), *others))
