"""What a JSON value of any shape says, slow and obvious: text and thoughts, told by names."""

from typing import Any

LOOKS = 6
"""So deep an object's type is looked at."""

DESCRIPTIONS = {
    "id", "type", "object", "role", "index", "format", "signature", "status", "model", "detail", "encoding",
    "mime_type", "source", "finish_reason", "logprobs", "token_ids", "call_id",
}  # fmt: skip
DESCRIBING = ("signature", "filter", "finish", "stop", "logprob", "token_id", "citation", "usage", "effort",
              "metadata")  # fmt: skip
GENERATED = ("content", "text", "reason", "think", "thought", "transcript", "summary", "argument", "tool",
             "function", "audio", "image", "answer", "output", "generated")  # fmt: skip
THOUGHTS = ("think", "reason", "thought", "summary")


class Object(list[tuple[str, Any]]):
    """The members in their order, equal keys too."""

    def last(self, name: str) -> Any:
        return next((value for key, value in reversed(self) if key == name), None)


class Text(str):
    """A string; raw is what stands between its quotes."""

    raw: bytes


def is_text(value: Any) -> bool:
    return isinstance(value, Text)


def is_array(value: Any) -> bool:
    return isinstance(value, list) and not isinstance(value, Object)


def is_tree(value: Any) -> bool:
    return isinstance(value, list)


def contains(name: str, parts: tuple[str, ...]) -> bool:
    return any(part in name.lower() for part in parts)


def is_description(name: str) -> bool:
    ends_in_id = len(name) > 3 and name.endswith("_id")
    return ends_in_id or name in DESCRIPTIONS or contains(name, DESCRIBING)


def is_output_name(name: str) -> bool:
    return not is_description(name) and contains(name, GENERATED)


def is_thought_name(name: str) -> bool:
    return contains(name, THOUGHTS)


def strings(value: Any, is_thought: bool = False, level: int = 1) -> list[tuple[Text, bool]]:
    """All strings that count, each with whether it is a thought."""
    if isinstance(value, Text):
        return [(value, is_thought)]
    if isinstance(value, Object):
        is_thought = is_thought or (level <= LOOKS and is_thinking(value))
        return [
            found
            for name, each in value
            if not is_description(name)
            for found in strings(each, is_thought or is_thought_name(name), level + 1)
        ]
    if is_array(value):
        return [found for each in value for found in strings(each, is_thought, level + 1)]
    return []


def is_thinking(value: Object) -> bool:
    kinds = [each for name, each in value if name == "type" and is_text(each)]
    return bool(kinds) and is_thought_name(kinds[-1].raw.decode("latin-1"))


def said(value: Any) -> tuple[int, int]:
    """Bytes of text and of thoughts, as written."""
    found = strings(value)
    text = sum(len(each.raw) for each, is_thought in found if not is_thought)
    return text, sum(len(each.raw) for each, is_thought in found if is_thought)


def words(value: Any) -> str:
    """The text without the thoughts."""
    return "".join(clean(each) for each, is_thought in strings(value) if not is_thought)


def clean(text: str) -> str:
    """No NUL and no half of a surrogate pair."""
    return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)
