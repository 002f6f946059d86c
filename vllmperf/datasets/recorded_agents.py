"""Recorded calls of agents and their subagents as one tree of turns: what waits for what, and for how long."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vllmperf.datasets.dataset import Ask, Conversation, Estimate
from vllmperf.datasets.synthetic import made_texts

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens


class Call(NamedTuple):
    """One recorded request. new: what came new into it, a text or how many tokens. continues: the call before it, of its agent.

    end_s: when its answer was there; None: unknown. wait_s: as recorded, from the last answer it waited for; None: by the times.
    """

    start_s: float
    end_s: float | None
    new: str | int
    output_len: int
    continues: bool = True
    wait_s: float | None = None


class Agent(NamedTuple):
    """Calls and subagents in the order of their starts. end_s: None: the next call of whoever began it waits for it, whenever
    that was.
    """

    steps: list[Call | Agent]
    start_s: float
    end_s: float | None = None


class Recorded(NamedTuple):
    """One session. system: a text, or how many tokens."""

    system: str | int | None
    agent: Agent


def conversations(
    found: Iterable[Recorded], tokens: Tokens | None, seed: int, output_len: int | None
) -> Iterator[Conversation]:
    """Each session when it is its turn. Texts that were not recorded are made up, no two alike, but for system prompts: those
    begin alike."""
    draw = random.Random(seed)
    numbers = itertools.count()
    for one in found:
        asks = turns(one.agent)
        texts = _filled([ask.text for ask in asks], tokens, draw, numbers)
        system = next(_filled([one.system], tokens, random.Random(-1 - seed), itertools.count()))
        yield Conversation(
            system[0] or None,
            tuple(ask.ask(text, length, output_len) for ask, (text, length) in zip(asks, texts, strict=True)),
            system[1],
        )


class Planned(NamedTuple):
    """A turn before its text is made."""

    text: str | int
    output_len: int
    after: tuple[int, ...]
    is_fresh: bool
    wait_s: float | None
    answers_of: tuple[int, ...]

    def ask(self, text: str, input_len: int, output_len: int | None) -> Ask:
        return Ask(
            text,
            output_len or self.output_len,
            input_len,
            self.after,
            self.is_fresh,
            self.wait_s,
            self.answers_of,
        )


def turns(agent: Agent) -> list[Planned]:
    """In an order in which each comes behind those it waits for."""
    found: list[Planned] = []
    _walk(agent, None, found, [])
    return found


def _walk(agent: Agent, began: int | None, found: list[Planned], ends: list[float | None]) -> int | None:
    """Add the turns of an agent that turn `began` called; gives its last one. ends: of the calls of `found`."""
    last: int | None = None
    open_: list[tuple[int, float | None]] = []  # last turns of subagents that no call has waited for yet
    for step in agent.steps:
        if isinstance(step, Agent):
            before = [turn for turn, end_s in open_ if end_s is not None and end_s <= step.start_s]
            inner = _walk(step, last if last is not None else before[-1] if before else began, found, ends)
            if inner is not None:
                open_.append((inner, step.end_s))
            continue
        joined = tuple(turn for turn, end_s in open_ if end_s is None or end_s <= step.start_s)
        open_ = [each for each in open_ if each[0] not in joined]
        base = last if last is not None else began
        after = joined if base is None else (base, *(turn for turn in joined if turn != base))
        found.append(
            Planned(
                step.new,
                step.output_len,
                after,
                last is None or not step.continues,
                _wait_s(step, [ends[turn] for turn in after]),
                joined if last is not None else (),
            )
        )
        ends.append(step.end_s)
        last = len(found) - 1
    return last if last is not None else (open_[-1][0] if open_ else None)


def _wait_s(call: Call, ends: list[float | None]) -> float | None:
    if call.wait_s is not None or not ends:
        return call.wait_s
    known = [end_s for end_s in ends if end_s is not None]
    return max(0.0, call.start_s - max(known)) if len(known) == len(ends) else None


def _filled(
    given: Sequence[str | int | None],
    tokens: Tokens | None,
    draw: random.Random,
    numbers: Iterator[int],
) -> Iterator[tuple[str, int]]:
    """(text, its tokens) of each; numbers of tokens become texts."""
    counter = tokens or Estimate()
    made = made_texts(tokens, [each for each in given if isinstance(each, int) and each], draw, numbers)
    for each in given:
        if isinstance(each, int) and each:
            yield next(made)
        else:
            yield str(each or ""), counter.count(str(each or ""))
