"""otel: sessions of agents from OpenTelemetry spans with the GenAI conventions: the messages and lengths of their model calls."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from vllmperf.datasets.dataset import (
    Conversation,
    Counter,
    DataSet,
    Estimate,
    Spec,
    again,
    first_turns,
)
from vllmperf.datasets.recorded_agents import Agent, Call, Recorded
from vllmperf.datasets.recorded_agents import conversations as as_conversations
from vllmperf.datasets.spans import Message, Span, traces
from vllmperf.errors import SettingError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens


def conversations(spec: Spec, tokens: Tokens | None) -> Iterator[Conversation]:
    """In the order of the file, then drawn again, without end. Raises UsageError for a bad span, before the first one."""
    counter = tokens or Estimate()
    found = [
        _session(calls, spans, counter, spec.output_len)
        for spans in traces(spec.path)
        if (calls := [span for span in spans.values() if span.is_call])
    ]
    if not found:
        raise SettingError("{dataset_path} {path} holds no span of a model call (gen_ai.*)", path=spec.path)
    return as_conversations(again(found, random.Random(spec.seed)), tokens, spec.seed, spec.output_len)


DATASET = DataSet(
    name="otel",
    about="recorded sessions of agents with their subagents, from OpenTelemetry spans (gen_ai.*)",
    path="FILE (JSON, JSON lines, Parquet)",
    prompts=first_turns(conversations),
    own_lengths=("output",),
    conversations=conversations,
)


def _session(calls: list[Span], spans: dict[str, Span], counter: Counter, output_len: int | None) -> Recorded:
    systems = {_system(span) for span in calls}
    system = systems.pop() if len(systems) == 1 else None
    by_agent: dict[str | None, list[Span]] = {}
    for span in sorted(calls, key=lambda each: each.start_s):
        by_agent.setdefault(_agent_of(span, spans), []).append(span)
    for span in [spans[agent] for agent in by_agent if agent]:  # agents that only have subagents
        while (above := _agent_of(span, spans)) is not None:
            by_agent.setdefault(above, [])
            span = spans[above]
    return Recorded(system, _agent(None, by_agent, spans, _Reading(counter, output_len, system is not None)))


def _agent_of(span: Span, spans: dict[str, Span]) -> str | None:
    """The nearest span above it that is an agent's."""
    seen: set[str] = set()
    above = span.parent
    while above is not None and above in spans and above not in seen:
        if spans[above].is_agent:
            return above
        seen.add(above)
        above = spans[above].parent
    return None


class _Reading(NamedTuple):
    """How calls are read."""

    counter: Counter
    output_len: int | None
    has_system: bool


def _agent(
    name: str | None, by_agent: dict[str | None, list[Span]], spans: dict[str, Span], reading: _Reading
) -> Agent:
    inner = [
        _agent(other, by_agent, spans, reading)
        for other in by_agent
        if other is not None and _agent_of(spans[other], spans) == name
    ]
    own: list[Call] = []
    before: Span | None = None
    for span in by_agent.get(name, []):
        own.append(_call(span, before, reading))
        before = span
    steps: list[Call | Agent] = sorted([*own, *inner], key=lambda step: step.start_s)
    ends = [step.end_s for step in steps if step.end_s is not None]
    return Agent(steps, steps[0].start_s if steps else 0.0, max(ends, default=None))


def _call(span: Span, before: Span | None, reading: _Reading) -> Call:
    output_len = reading.output_len or span.output_tokens or _counted(span, reading)
    new = _new(span, before, reading)
    if new is not None:
        return Call(span.start_s, span.end_s, new[0], output_len, new[1])
    if span.input_tokens is None:
        raise span.bad("it has neither gen_ai.input.messages nor gen_ai.usage.input_tokens")
    known = (before.input_tokens or 0) + (before.output_tokens or 0) if before else 0
    continues = before is not None and span.input_tokens > known
    return Call(
        span.start_s,
        span.end_s,
        span.input_tokens - known if continues else span.input_tokens,
        output_len,
        continues,
    )


def _counted(span: Span, reading: _Reading) -> int:
    length = sum(reading.counter.count(message.text) for message in span.output)
    if not length:
        raise span.bad(
            "it has neither gen_ai.usage.output_tokens nor an answer, and no output length is given"
        )
    return length


def _new(span: Span, before: Span | None, reading: _Reading) -> tuple[str, bool] | None:
    """(what the call says that the one before it of its agent did not, whether it continues that one); None: not recorded."""
    said = span.input
    if not said:
        return None
    continues = before is not None and bool(before.input) and said[: len(before.input)] == before.input
    if before is not None and continues:
        more = said[len(before.input) :]
        while more and more[0].role == "assistant":  # the recorded answer: the real one stands there
            more = more[1:]
        return _joined(more), True
    skip = ("system",) if reading.has_system else ()
    return _joined([message for message in said if message.role not in skip]), False


def _joined(messages: list[Message]) -> str:
    return "\n".join(message.text for message in messages if message.text)


def _system(span: Span) -> str | None:
    return _joined([message for message in span.input if message.role == "system"]) or None
