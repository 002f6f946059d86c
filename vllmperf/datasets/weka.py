"""weka: recorded coding sessions of agents as lengths and hashes of blocks, of WEKA's kv-cache-tester and AgentX (2026)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from vllmperf.datasets.dataset import Conversation, DataSet, Spec, again, first_turns
from vllmperf.datasets.recorded_agents import Agent, Call, Recorded
from vllmperf.datasets.recorded_agents import conversations as as_conversations
from vllmperf.datasets.rows import Row, rows
from vllmperf.errors import SettingError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

BLOCK_TOKENS = 64
SUBAGENT = "subagent"


def conversations(spec: Spec, tokens: Tokens | None) -> Iterator[Conversation]:
    """In the order of the file, then drawn again, without end. Raises UsageError for a bad row, before the first one."""
    found = [session for row in rows(spec.path) if (session := _session(row)).agent.steps]
    if not found:
        raise SettingError("{dataset_path} {path} holds no session with a request", path=spec.path)
    return as_conversations(again(found, random.Random(spec.seed)), tokens, spec.seed, spec.output_len)


DATASET = DataSet(
    name="weka",
    about="recorded sessions of coding agents with their subagents, by the lengths of their prompts (WEKA, AgentX)",
    path="FILE (JSON, JSON lines, Parquet)",
    prompts=first_turns(conversations),
    own_lengths=("output",),
    conversations=conversations,
)


class _Trace(NamedTuple):
    """What the requests of one session have in common."""

    row: Row
    block_tokens: int
    system_tokens: int


class _Before(NamedTuple):
    """The request before, of the same agent."""

    tokens: int
    output_tokens: int
    hashes: list[Any]


def _session(row: Row) -> Recorded:
    fields = row.fields
    system_tokens = sum(_whole(row, fields, name, 0, 0) for name in ("tool_tokens", "system_tokens"))
    trace = _Trace(row, _whole(row, fields, "block_size", BLOCK_TOKENS, 1), system_tokens)
    return Recorded(system_tokens or None, _agent(trace, fields, 0.0))


def _agent(trace: _Trace, fields: dict[str, Any], start_s: float) -> Agent:
    """start_s: that of a subagent, by the times of the session."""
    requests = fields.get("requests")
    if not isinstance(requests, list) or not all(isinstance(one, dict) for one in requests):
        raise trace.row.bad('the row has no list "requests" of objects, as traces of WEKA have')
    offset_s = _offset_s(trace, requests, start_s)
    steps: list[Call | Agent] = []
    before: _Before | None = None
    inner_output = 0  # answers of subagents: they come new into the next prompt, and as they really are
    for request in requests:
        t = _number(trace.row, request, "t", None) + offset_s
        if request.get("type") == SUBAGENT:
            inner = _agent(trace, request, t)
            if inner.steps:
                steps.append(inner)
                inner_output += _last_output(inner)
            continue
        call, before = _call(trace, request, t, before, inner_output)
        steps.append(call)
        inner_output = 0
    return Agent(steps, start_s)


def _offset_s(trace: _Trace, requests: list[dict[str, Any]], start_s: float) -> float:
    """Times within a subagent count from its start, or, in AgentX's files, from that of the session."""
    first = _number(trace.row, requests[0], "t", None) if requests else 0.0
    return start_s if first < start_s else 0.0


def _call(
    trace: _Trace, request: dict[str, Any], t: float, before: _Before | None, inner_output: int
) -> tuple[Call, _Before]:
    row = trace.row
    length, output = _whole(row, request, "in", None, 1), max(1, _whole(row, request, "out", None, 0))
    hashes = request.get("hash_ids") or []
    if not isinstance(hashes, list):
        raise row.bad('"hash_ids" must be a list')
    continues = before is not None and _continues(trace, before, length, hashes)
    if before is not None and continues:
        new = length - before.tokens - before.output_tokens - inner_output
    else:
        new = length - trace.system_tokens
    api_s = request.get("api_time")
    end_s = None if api_s is None else t + _number(row, request, "api_time", 0.0)
    think_s = None if request.get("think_time") is None else _number(row, request, "think_time", 0.0)
    return Call(t, end_s, max(1, new), output, continues, think_s), _Before(length, output, hashes)


def _continues(trace: _Trace, before: _Before, length: int, hashes: list[Any]) -> bool:
    """Its prompt begins with the one before it, whole blocks compared."""
    if length < before.tokens:
        return False
    if not hashes or not before.hashes:
        return True
    whole = min(before.tokens // trace.block_tokens, len(before.hashes))
    return bool(hashes[:whole] == before.hashes[:whole])


def _last_output(agent: Agent) -> int:
    last = agent.steps[-1]
    return last.output_len if isinstance(last, Call) else _last_output(last)


def _whole(row: Row, fields: dict[str, Any], name: str, default: int | None, least: int) -> int:
    value = fields.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise row.bad(f'"{name}" must be a whole number of at least {least} (got {value!r})')
    return value


def _number(row: Row, fields: dict[str, Any], name: str, default: float | None) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise row.bad(f'"{name}" must be a number of seconds (got {value!r})')
    return float(value)
