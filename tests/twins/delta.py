"""What one completions or chat object says, slow and obvious: by the json module, from a tree."""

import json
import json.decoder
import json.scanner
from decimal import Decimal, InvalidOperation
from typing import Any

from twins.said import (
    Object,
    Text,
    clean,
    is_array,
    is_description,
    is_output_name,
    is_text,
    is_thought_name,
    is_tree,
    said,
    words,
)

MAX_DEPTH = 128
BOM = b"\xef\xbb\xbf"
TEXTS = ("content", "text", "refusal")
REASONINGS = ("reasoning", "reasoning_content")
CALLS = ("tool_calls", "function_call")
KNOWN = (*TEXTS, *REASONINGS, *CALLS)
OWN = (*KNOWN, "index", "delta", "message", "finish_reason", "token_ids")
COMPLAINTS = (
    "message",
    "detail",
    "details",
    "errors",
    "error_msg",
    "error_message",
    "errmsg",
    "msg",
    "base_resp",
)
FOREIGN = ("delta", "token", "response")
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
OTHER_CACHED = ("prompt_cache_hit_tokens", "cached_tokens")
NO_REASONS = (b"", b"null", b"none", b"undefined")


class Number(str):
    """As it is written."""


def scan(data: bytes) -> dict[str, Any] | None:
    """As vllmperf._engine.delta_scan, but the error is a tree. ValueError for what is malformed."""
    data = data.removeprefix(BOM)
    if data.strip(b" \t\r\n") == b"[DONE]":
        return None
    top = read(data)
    if not isinstance(top, Object):
        raise ValueError("no object")
    choices, usage = top.last("choices"), usage_of(top)
    details = usage.last("prompt_tokens_details") if isinstance(usage, Object) else None
    prediction = usage.last("completion_tokens_details") if isinstance(usage, Object) else None
    said_by = [choice(each) for each in choices] if is_array(choices) else []
    say_nothing = len(said_by) <= 4 and not any(each["is_output"] or each["has_unknown"] for each in said_by)
    return {
        "choices": said_by,
        "prompt_tokens": count(usage, "prompt_tokens"),
        "completion_tokens": count(usage, "completion_tokens"),
        "total_tokens": count(usage, "total_tokens"),
        "cached_tokens": cached
        if (cached := count(details, "cached_tokens")) is not None
        else other_cached(usage),
        **own_times(top.last("metrics"), prediction),
        "error": error(top),
        **without_output(top if say_nothing else Object(), is_array(choices)),
    }


def usage_of(top: Object) -> Any:
    """The first with a count: its own, that of the last choice with one, Groq's."""
    usage = top.last("usage")
    for other in of_choices(top, "usage"), of_groq(top, "usage"):
        has_count = any(count(usage, name) is not None for name in COUNTS)
        usage = other if isinstance(other, Object) and not has_count else usage
    return usage


def of_choices(top: Object, name: str) -> Any:
    """The last object of that name in a choice."""
    choices = top.last("choices")
    members = [
        each
        for where in (choices if is_array(choices) else [])
        if isinstance(where, Object)
        for each in where
    ]
    return next(
        (value for key, value in reversed(members) if key == name and isinstance(value, Object)), None
    )


def of_groq(top: Object, name: str) -> Any:
    groq = top.last("x_groq")
    return groq.last(name) if isinstance(groq, Object) else None


def other_cached(usage: Any) -> int | None:
    """The newest under a name that is not OpenAI's."""
    names = [name for name, _ in usage if name in OTHER_CACHED] if isinstance(usage, Object) else []
    return (
        count(Object([each for each in usage if each[0] in OTHER_CACHED][-1:]), names[-1]) if names else None
    )


def own_times(metrics: Any, prediction: Any) -> dict[str, int | None]:
    """What vLLM's metrics and OpenAI's details of usage say."""
    metrics = metrics if isinstance(metrics, Object) else Object()
    drafts = metrics.last("speculative_decoding")
    return {
        "predicted": count(prediction, "accepted_prediction_tokens"),
        "rejected": count(prediction, "rejected_prediction_tokens"),
        "queue_ns": nanoseconds(metrics.last("queue_time_ms")),
        "prefill_ns": nanoseconds(metrics.last("time_to_first_token_ms")),
        "decode_ns": nanoseconds(metrics.last("generation_time_ms")),
        "draft_steps": count(drafts, "num_spec_steps"),
        "draft_tokens": count(drafts, "num_draft_tokens"),
        "accepted_tokens": count(drafts, "num_accepted_draft_tokens"),
    }


def without_output(top: Object, has_choices: bool) -> dict[str, bool]:
    """Of an object without output in choices: does it complain, does it hold another API's output?"""
    foreign = complaint = False
    for name, value in top:
        is_own = name in FOREIGN or is_output_name(name) or (name == "message" and is_tree(value))
        foreign |= is_own and sum(said(value)) > 0
        complaint |= not has_choices and not is_own and name in COMPLAINTS and says_something(value)
    return {"has_foreign_output": foreign, "has_complaint": complaint}


# ---- a choice ----


def choice(value: Any) -> dict[str, Any]:
    own = value if isinstance(value, Object) else Object()
    part = part_of(own)
    content = first_said([where.last(name) for where in (part, own) for name in TEXTS])
    reasoning = first_said([where.last(name) for where in (part, own) for name in REASONINGS])
    calls = [where.last(name) for where in (part, own) for name in CALLS]
    others = [other(name, each) for name, each in own if name not in OWN and is_output_name(name)]
    others += [
        other(name, each) for name, each in part if name not in (*KNOWN, "role") and is_output_name(name)
    ]
    text_bytes, thought_bytes = map(sum, zip(said(content), (0, sum(said(reasoning))), *others, strict=True))
    tool_bytes = sum(sum(said(call)) for call in calls)
    has_tool_calls = any(bool(call) and (is_text(call) or is_tree(call)) for call in calls)
    ids = own.last("token_ids")
    n_ids = len(ids) if is_array(ids) else None
    has_role = is_text(part.last("role"))
    is_certain = bool(text_bytes or thought_bytes or tool_bytes or has_tool_calls or n_ids)
    return {
        "index": count(own, "index") or 0,
        "content": None if content is None else clean(content) if is_text(content) else words(content),
        "reasoning": clean(reasoning) if is_text(reasoning) else None,
        "text_bytes": text_bytes,
        "thought_bytes": thought_bytes,
        "tool_bytes": tool_bytes,
        "has_content": content is not None,
        "has_tool_calls": has_tool_calls,
        "has_unknown": any(is_unknown(name) and sum(said(each)) > 0 for name, each in part),
        "has_role": has_role,
        "token_ids": n_ids,
        "finish_reason": finish_reason(own.last("finish_reason")),
        "is_output": is_certain or (content is not None and not has_role and n_ids is None),
    }


def part_of(own: Object) -> Object:
    """The delta; the message only where there is no delta."""
    for name in ("delta", "message"):
        value = own.last(name)
        if isinstance(value, Object):
            return value
        if is_text(value):
            return Object([("content", value)])
    return Object()


def first_said(values: list[Any]) -> Any:
    """The first that says something, else the first that could, else None."""
    able = [value for value in values if is_text(value) or (is_tree(value) and value)]
    return next((value for value in able if sum(said(value))), able[0] if able else None)


def other(name: str, value: Any) -> tuple[int, int]:
    text_bytes, thought_bytes = said(value)
    return (0, text_bytes + thought_bytes) if is_thought_name(name) else (text_bytes, thought_bytes)


def is_unknown(name: str) -> bool:
    is_known = name in KNOWN or name == "role"
    return not is_known and not is_output_name(name) and not is_description(name)


def finish_reason(value: Any) -> str | None:
    return clean(value) if isinstance(value, Text) and value.raw.lower() not in NO_REASONS else None


# ---- the rest ----


def count(where: Any, name: str) -> int | None:
    """A whole number of at most 18 digits, however it is written."""
    value = where.last(name) if isinstance(where, Object) else None
    if not isinstance(value, Number):
        return None
    if not any(digit in "123456789" for digit in value.lower().partition("e")[0]):
        return 0
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return int(number) if 0 <= number < 10**18 and number == number.to_integral_value() else None


def nanoseconds(value: Any) -> int | None:
    """A number of ms that has at most 18 digits as ns, what is below 1 ns cut off."""
    try:
        number = Decimal(value).scaleb(6) if isinstance(value, Number) and value[0] != "-" else None
    except InvalidOperation:
        return None
    is_known = number is not None and number.is_finite() and number < 10**18
    return int(number) if is_known else None


def error(top: Object) -> Any:
    value, kind = top.last("error"), top.last("object")
    if says_something(value):
        return value
    if isinstance(kind, Text) and kind.raw == b"error":
        return top
    return next(filter(says_something, (of_choices(top, "error"), of_groq(top, "error"))), None)


def says_something(value: Any) -> bool:
    """Not only null, false, 0 and what is empty."""
    if isinstance(value, Object):
        return any(says_something(each) for _, each in value)
    if is_array(value):
        return any(says_something(each) for each in value)
    if isinstance(value, Number):
        return any(digit in "123456789" for digit in value.lower().partition("e")[0])
    return bool(value)


def read(data: bytes) -> Any:
    """The bytes stand as Latin-1, so that each string can be had as it is written."""
    decoder = json.JSONDecoder(object_pairs_hook=Object, parse_int=Number, parse_float=Number)
    decoder.parse_string = parse_string
    decoder.scan_once = json.scanner.py_make_scanner(decoder)
    value = decoder.decode(data.decode("latin-1"))
    if depth(value) > MAX_DEPTH:
        raise ValueError("too deep")
    return value


def parse_string(text: str, start: int, strict: bool) -> tuple[Text, int]:
    _, end = json.decoder.scanstring(text, start, strict)
    raw = text[start : end - 1].encode("latin-1")
    value = Text(json.loads(b'"' + raw.decode("utf-8", "replace").encode() + b'"'))
    value.raw = raw
    return value, end


def depth(value: Any) -> int:
    if isinstance(value, Object):
        return 1 + max((depth(each) for _, each in value), default=0)
    return 1 + max(map(depth, value), default=0) if is_array(value) else 0
