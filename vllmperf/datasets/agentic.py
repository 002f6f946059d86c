"""agentic: sessions as trees of turns, with the time that tools take between them and subagents beside each other."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vllmperf.datasets.dataset import (
    Ask,
    Conversation,
    Counter,
    DataSet,
    Estimate,
    Spec,
    again,
    first_turns,
)
from vllmperf.datasets.rows import LINES, Row, rows
from vllmperf.errors import SettingError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

KEYS = ("text", "output_tokens", "after", "fresh", "wait_s", "answers_of")


def conversations(spec: Spec, tokens: Tokens | None) -> Iterator[Conversation]:
    """In the order of the file, then drawn again, without end. Raises UsageError for a bad row, before the first one."""
    found = [_session(row, spec, tokens or Estimate()) for row in rows(spec.path, form=LINES[0])]
    if not found:
        raise SettingError("{dataset_path} {path} holds no session", path=spec.path)
    return again(found, random.Random(spec.seed))


DATASET = DataSet(
    name="agentic",
    about="sessions of agents: trees of turns behind the real answers, with waits for tools and subagents",
    path="FILE (JSON lines)",
    prompts=first_turns(conversations),
    own_lengths=("output",),
    conversations=conversations,
)


def _session(row: Row, spec: Spec, counter: Counter) -> Conversation:
    system, turns = row.fields.get("system"), row.fields.get("turns")
    if not (system is None or isinstance(system, str)):
        raise row.bad('"system" must be a text')
    if not isinstance(turns, list) or not turns:
        raise row.bad('the row has no list "turns"')
    asks = tuple(_ask(row, number, turn, spec, counter) for number, turn in enumerate(turns))
    return Conversation(system, asks, counter.count(system or ""))


def _ask(row: Row, number: int, turn: Any, spec: Spec, counter: Counter) -> Ask:
    if not isinstance(turn, dict) or not isinstance(turn.get("text"), str):
        raise row.bad(f'turn {number} has no text "text"')
    if unknown := next((key for key in turn if key not in KEYS), None):
        raise row.bad(f"turn {number} has no setting {unknown!r}: it has {', '.join(KEYS)}")
    text, fresh = turn["text"], turn.get("fresh", False)
    if not isinstance(fresh, bool):
        raise row.bad(f'turn {number}: "fresh" must be true or false')
    after = _after(row, number, turn.get("after"))
    return Ask(
        text,
        _length(row, number, turn, spec),
        counter.count(text),
        after,
        fresh,
        _wait(row, number, turn),
        _answers_of(row, number, turn.get("answers_of"), after),
    )


def _length(row: Row, number: int, turn: dict[str, Any], spec: Spec) -> int:
    length = spec.output_len or turn.get("output_tokens")
    if type(length) is not int or length < 1:
        raise row.bad(
            f'turn {number}: "output_tokens" must be a whole number above 0, unless an output length is given'
        )
    return length


def _wait(row: Row, number: int, turn: dict[str, Any]) -> float | None:
    wait_s = turn.get("wait_s")
    if wait_s is None:
        return None
    if type(wait_s) not in (int, float) or not math.isfinite(wait_s) or wait_s < 0:
        raise row.bad(f'turn {number}: "wait_s" must be a number of seconds')
    return float(wait_s)


def _answers_of(row: Row, number: int, answers: Any, after: tuple[int, ...] | None) -> tuple[int, ...]:
    if answers is None:
        return ()
    found = answers if isinstance(answers, list) else [answers]
    if not all(type(one) is int and one in (after or ()) for one in found):
        raise row.bad(
            f'turn {number}: "answers_of" must be the number of a turn that it names in "after", or a list of them'
        )
    return tuple(found)


def _after(row: Row, number: int, after: Any) -> tuple[int, ...] | None:
    if after is None:
        return None
    found = after if isinstance(after, list) else [after]
    if not found or not all(type(one) is int and 0 <= one < number for one in found):
        raise row.bad(
            f'turn {number}: "after" must be the number of an earlier turn, from 0, or a list of them'
        )
    return tuple(found)
