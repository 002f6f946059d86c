"""conversations: what people said in recorded conversations, turn by turn, with the lengths of the recorded answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from vllmperf.datasets.dataset import (
    Ask,
    Conversation,
    Counter,
    DataSet,
    Estimate,
    Option,
    Spec,
    again,
    first_turns,
)
from vllmperf.datasets.rows import Row, rows
from vllmperf.errors import SettingError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

USERS, ASSISTANTS, SYSTEM = ("human", "user"), ("gpt", "assistant", "chatgpt", "model", "bot"), "system"
MAX_TURNS = Option("conversations_max_turns", int, None, "turns of a conversation at most", least=1)


class Said(NamedTuple):
    """One turn as it was recorded; answer: None when the file ends before."""

    question: str
    answer: str | None


class Recorded(NamedTuple):
    system: str | None
    turns: list[Said]


def conversations(spec: Spec, tokens: Tokens | None) -> Iterator[Conversation]:
    """Shuffled by the seed, then drawn again, without end. Raises UsageError for a bad row, before the first one."""
    has_length = spec.output_len is not None
    read = (_recorded(row) for row in rows(spec.path))
    found = [usable for one in read if one and (usable := _usable(one, has_length, MAX_TURNS.of(spec)))]
    if not found:
        raise SettingError("{dataset_path} {path} holds no conversation with an answer", path=spec.path)
    draw = random.Random(spec.seed)
    draw.shuffle(found)
    return (_conversation(one, spec, tokens) for one in again(found, draw))


DATASET = DataSet(
    name="conversations",
    about="recorded conversations, turn by turn: each turn follows the real answer, which is as long as the recorded one",
    path="FILE (JSON, JSON lines)",
    prompts=first_turns(conversations),
    own_lengths=("output",),
    options=(MAX_TURNS,),
    conversations=conversations,
)


def _conversation(one: Recorded, spec: Spec, tokens: Tokens | None) -> Conversation:
    counter: Counter = tokens or Estimate()
    questions = [turn.question for turn in one.turns]
    answers = counter.counts([turn.answer or "" for turn in one.turns], special=False)
    asks = (
        Ask(turn.question, spec.output_len or max(answer, 1), length)
        for turn, answer, length in zip(one.turns, answers, counter.counts(questions), strict=True)
    )
    return Conversation(one.system, tuple(asks), counter.count(one.system or ""))


def _usable(one: Recorded, has_length: bool, most: int | None) -> Recorded | None:
    turns = [turn for turn in one.turns if turn.answer is not None or has_length][:most]
    return Recorded(one.system, turns) if turns else None


def _recorded(row: Row) -> Recorded | None:
    """The turns of a row; None when somebody else than user, assistant and system speaks in it.

    Messages of the user before one answer are one turn; what the assistant says before the first is left out.
    """
    system, turns, asked = None, list[Said](), list[str]()
    for message in _messages(row):
        role, text = _role(row, message), _text(row, message)
        if role in USERS:
            asked.append(text)
        elif role in ASSISTANTS:
            if asked:
                turns.append(Said("\n".join(asked), text))
            asked = []
        elif role == SYSTEM:
            system = text
        else:
            return None
    if asked:
        turns.append(Said("\n".join(asked), None))
    return Recorded(system, turns)


def _messages(row: Row) -> list[Any]:
    names = ("conversations", "conversation", "messages")
    found = next((row.fields[name] for name in names if name in row.fields), None)
    if not isinstance(found, list):
        raise row.bad('the row has no list "conversations" (of ShareGPT) or "messages" (of OpenAI)')
    return found


def _role(row: Row, message: Any) -> str:
    role = message.get("from", message.get("role")) if isinstance(message, dict) else None
    if not isinstance(role, str):
        raise row.bad('a message has no "from" or "role"')
    return role


def _text(row: Row, message: dict[str, Any]) -> str:
    text = message.get("value", message.get("content"))
    if not isinstance(text, str):
        raise row.bad('a message has no text "value" or "content"')
    return text
