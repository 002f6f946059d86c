"""What one completions or chat object says, slow and obvious: by the json module, from a tree."""

import json
from typing import Any, NoReturn

MAX_DEPTH = 128


class Object(list[tuple[str, Any]]):
    """The members in their order, equal keys too."""

    def every(self, *names: str) -> list[Any]:
        return [value for name, value in self if name in names]


class Number(str):
    """As it is written."""


def scan(data: bytes) -> dict[str, Any] | None:
    """As vllmperf._engine.delta_scan, but the error is a tree. ValueError for what is malformed."""
    text = data.decode("utf-8", "replace")
    if text.strip(" \t\r\n") == "[DONE]":
        return None
    top = read(text)
    if not isinstance(top, Object):
        raise ValueError("no object")
    usages = [usage for usage in top.every("usage") if isinstance(usage, Object)]
    details = [each for usage in usages for each in usage.every("prompt_tokens_details")]
    return {
        "choices": [choice(each) for value in top.every("choices") if is_array(value) for each in value],
        "prompt_tokens": count(usages, "prompt_tokens"),
        "completion_tokens": count(usages, "completion_tokens"),
        "cached_tokens": count(details, "cached_tokens"),
        "error": error(top),
    }


def choice(value: Any) -> dict[str, Any]:
    this = value if isinstance(value, Object) else Object()
    deltas = [each for each in this.every("delta", "message") if isinstance(each, Object)]
    said = [pair for name, each in this for pair in said_by(name, each)]
    content = last_text([text for kind, text in said if kind == "content"])
    reasoning = last_text([text for kind, text in said if kind == "reasoning"])
    calls = [call for delta in deltas for call in delta.every("tool_calls")]
    functions = [call for delta in deltas for call in delta.every("function_call")]
    has_tool_calls = any(is_array(call) and call for call in calls) or any(
        isinstance(call, Object) for call in functions
    )
    has_role = any(is_text(role) for delta in deltas for role in delta.every("role"))
    token_ids = [len(ids) if is_array(ids) else None for ids in this.every("token_ids")]
    n_ids = token_ids[-1] if token_ids else None
    return {
        "index": count([this], "index") or 0,
        "content": content,
        "reasoning": reasoning,
        "has_tool_calls": has_tool_calls,
        "has_role": has_role,
        "token_ids": n_ids,
        "finish_reason": last_text(this.every("finish_reason")),
        "is_output": bool(content or reasoning or has_tool_calls or n_ids)
        or (content == "" and not has_role),
    }


def said_by(name: str, value: Any) -> list[tuple[str, Any]]:
    """The texts of one member of a choice, each with what it is."""
    if name == "text":
        return [("content", value)]
    if name not in ("delta", "message") or not isinstance(value, Object):
        return []
    kinds = {
        "content": "content",
        "refusal": "content",
        "reasoning": "reasoning",
        "reasoning_content": "reasoning",
    }
    return [(kinds[key], text) for key, text in value if key in kinds]


def last_text(values: list[Any]) -> str | None:
    """The last one that is not empty, else "" when there is an empty one, else None."""
    texts = [clean(value) for value in values if is_text(value)]
    return next((text for text in reversed(texts) if text), "" if texts else None)


def clean(text: str) -> str:
    """No NUL and no half of a surrogate pair."""
    return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)


def count(objects: list[Any], name: str) -> int | None:
    """The last whole number of at most 18 digits."""
    values = [value for each in objects if isinstance(each, Object) for value in each.every(name)]
    numbers = [int(v) for v in values if isinstance(v, Number) and v.isdigit() and len(v) <= 18]
    return numbers[-1] if numbers else None


def error(top: Object) -> Any:
    errors = [value for value in top.every("error") if value is not None]
    if errors:
        return errors[-1]
    kinds = top.every("object")
    return top if kinds and is_text(kinds[-1]) and kinds[-1] == "error" else None


def read(text: str) -> Any:
    value = json.loads(
        text, object_pairs_hook=Object, parse_int=Number, parse_float=Number, parse_constant=refuse
    )
    if depth(value) > MAX_DEPTH:
        raise ValueError("too deep")
    return value


def refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def depth(value: Any) -> int:
    if isinstance(value, Object):
        return 1 + max((depth(each) for _, each in value), default=0)
    return 1 + max(map(depth, value), default=0) if is_array(value) else 0


def is_array(value: Any) -> bool:
    return isinstance(value, list) and not isinstance(value, Object)


def is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)
