"""Spans of OpenTelemetry from files: OTLP JSON, a trace a row, or a span a row, and what the GenAI conventions say in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from vllmperf.datasets.rows import Row, rows
from vllmperf.errors import UsageError

CALLS = ("chat", "generate_content", "text_completion", "generate")
AGENTS = ("invoke_agent", "create_agent")
INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
FAILED = (2, "2", "ERROR", "STATUS_CODE_ERROR")
NS = 1_000_000_000


class Message(NamedTuple):
    role: str
    text: str


@dataclass(frozen=True)
class Span:
    """One span; ids are texts. row: where it stands, for errors."""

    row: Row
    id: str
    parent: str | None
    start_s: float
    end_s: float | None
    attributes: dict[str, Any]
    has_failed: bool

    def bad(self, what: str) -> UsageError:
        return self.row.bad(f"span {self.id}: {what}")

    @property
    def is_agent(self) -> bool:
        return self.attributes.get("gen_ai.operation.name") in AGENTS

    @property
    def is_call(self) -> bool:
        """Of a model, and answered: a failed one was tried again, or ended the session."""
        operation = self.attributes.get("gen_ai.operation.name")
        is_one = operation in CALLS if operation else self.output_tokens is not None
        return is_one and not self.has_failed

    @property
    def input_tokens(self) -> int | None:
        return self._tokens(INPUT_TOKENS)

    @property
    def output_tokens(self) -> int | None:
        return self._tokens(OUTPUT_TOKENS)

    @cached_property
    def input(self) -> list[Message]:
        """What the prompt said, system instructions first; empty when it was not recorded."""
        system = self._messages("gen_ai.system_instructions", "system")
        told = self._messages("gen_ai.input.messages", "user") or self._numbered("gen_ai.prompt")
        return [*system, *told]

    @cached_property
    def output(self) -> list[Message]:
        return self._messages("gen_ai.output.messages", "assistant") or self._numbered("gen_ai.completion")

    def _tokens(self, names: tuple[str, ...]) -> int | None:
        value = next((self.attributes[name] for name in names if self.attributes.get(name) is not None), None)
        if value is None:
            return None
        try:
            return max(0, int(value))
        except (TypeError, ValueError):
            raise self.bad(f"{names[0]} must be a whole number (got {value!r})") from None

    def _messages(self, name: str, role: str) -> list[Message]:
        value = self.attributes.get(name)
        if not value:
            return []
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                return [Message(role, value)]
        if isinstance(value, str):
            return [Message(role, value)]
        if not isinstance(value, list):
            raise self.bad(f"{name} must be a list of messages")
        if all(isinstance(one, dict) and "type" in one and "role" not in one for one in value):
            return [Message(role, _text(value))]  # parts of one message
        return [self._message(name, one, role) for one in value]

    def _message(self, name: str, value: Any, role: str) -> Message:
        if not isinstance(value, dict):
            raise self.bad(f"{name} holds a message that is no object")
        parts = value.get("parts", value.get("content"))
        return Message(str(value.get("role") or role), _text(parts))

    def _numbered(self, name: str) -> list[Message]:
        """As OpenLLMetry writes them: gen_ai.prompt.0.role, gen_ai.prompt.0.content."""
        found = []
        for number in range(len(self.attributes)):
            key = f"{name}.{number}"
            if f"{key}.content" not in self.attributes and f"{key}.role" not in self.attributes:
                break
            role = self.attributes.get(f"{key}.role") or "user"
            found.append(Message(str(role), _text(self.attributes.get(f"{key}.content"))))
        return found


TEXTS = ("content", "text", "response", "result", "arguments")
"""Where a part of a message has what it says, by the kind of part."""


def _text(parts: Any) -> str:
    if parts is None:
        return ""
    if isinstance(parts, str):
        return parts
    if isinstance(parts, list):
        return "\n".join(text for part in parts if (text := _text(part)))
    if isinstance(parts, dict):
        return next((_text(parts[name]) for name in TEXTS if parts.get(name)), "")
    return str(parts)


# ---- files ----


def traces(path: str) -> Iterator[dict[str, Span]]:
    """The spans of each trace by id, traces in the order of their first spans. Raises UsageError for a bad one."""
    found: dict[str, dict[str, Span]] = {}
    for row in rows(path):
        for trace, span in _spans(row):
            found.setdefault(trace, {})[span.id] = span
    yield from found.values()


def _spans(row: Row) -> Iterator[tuple[str, Span]]:
    fields = row.fields
    if "resourceSpans" in fields:
        for resource in _list(row, fields, "resourceSpans"):
            for scope in _list(row, resource, "scopeSpans"):
                for number, span in enumerate(_list(row, scope, "spans")):
                    yield _span(row, number, span)
        return
    if "spans" in fields:
        trace = _id(fields)
        for number, span in enumerate(_list(row, fields, "spans")):
            own, read = _span(row, number, span)
            yield trace or own, read
        return
    yield _span(row, row.number, fields)


def _list(row: Row, fields: Any, name: str) -> list[Any]:
    found = fields.get(name, []) if isinstance(fields, dict) else None
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            found = None
    if not isinstance(found, list):
        raise row.bad(f'"{name}" must be a list')
    return found


def _id(fields: dict[str, Any]) -> str:
    return str(fields.get("trace_id") or fields.get("traceId") or "")


def _span(row: Row, number: int, value: Any) -> tuple[str, Span]:
    if not isinstance(value, dict):
        raise row.bad(f"span {number} is no object")
    context = value.get("context")  # where Python's console exporter puts the ids
    ids: dict[str, Any] = {**context, **value} if isinstance(context, dict) else value
    own = str(ids.get("span_id") or ids.get("spanId") or f"{row.number}.{number}")
    parent = next(
        (str(ids[name]) for name in ("parent_span_id", "parentSpanId", "parent_id") if ids.get(name)), None
    )
    start_s = _time_s(row, own, ids, ("start_time", "startTimeUnixNano", "start_time_unix_nano"))
    end_s = _time_s(row, own, ids, ("end_time", "endTimeUnixNano", "end_time_unix_nano"))
    if start_s is None:
        raise row.bad(f"span {own} has no start time (start_time, startTimeUnixNano)")
    status = ids.get("status")
    code = status.get("code", status.get("status_code")) if isinstance(status, dict) else status
    attributes = _attributes(row, own, ids.get("attributes"))
    return _id(ids) or own, Span(row, own, parent, start_s, end_s, attributes, code in FAILED)


def _time_s(row: Row, span: str, fields: dict[str, Any], names: tuple[str, ...]) -> float | None:
    value = next((fields[name] for name in names if fields.get(name) is not None), None)
    if value is None:
        return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    try:
        if isinstance(value, int | float) or value.isdigit():
            return int(value) / NS
        read = datetime.fromisoformat(value)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, AttributeError, OverflowError):
        raise row.bad(f"span {span}: {value!r} is no time: ISO 8601 or ns since 1970 are") from None


def _attributes(row: Row, span: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise row.bad(f"span {span}: its attributes are no JSON") from None
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(isinstance(one, dict) and "key" in one for one in value):
        return {one["key"]: _plain(one.get("value")) for one in value}
    raise row.bad(f"span {span}: its attributes are neither an object nor OTLP's list")


def _plain(value: Any) -> Any:
    """The value of OTLP's {"stringValue": ...}."""
    if not isinstance(value, dict):
        return value
    if "arrayValue" in value:
        return [_plain(each) for each in value["arrayValue"].get("values", [])]
    if "kvlistValue" in value:
        return {each.get("key"): _plain(each.get("value")) for each in value["kvlistValue"].get("values", [])}
    return next(iter(value.values()), None)
