"""The event stream rules of the HTML standard (section 9.2.6), slow and obvious: the whole input at once."""

import re

from twins import delta

BOM = b"\xef\xbb\xbf"
NOTHING = (b"null", b'""', b"[]", b"None", b"undefined")


def parse(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The (type, data) events.

    Three departures: an event whose blank line is missing at the end still counts, a data line that is a
    whole JSON object (or [DONE], or nothing) is an event of its own when another data line follows, and a field
    "error" is the data of an event of that type.
    """
    events: list[tuple[bytes, bytes]] = []
    kind, next_kind, data = b"", None, []
    for line in [*lines(stream.removeprefix(BOM)), b""]:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if line == b"":
            if data:
                events.append((kind if next_kind is None else next_kind, b"\n".join(data)))
            kind, next_kind, data = b"", None, []
        if name in (b"event", b"error") and line:
            said = b"error" if name == b"error" else value
            kind, next_kind = (kind, said) if data else (said, next_kind)
        if name in (b"data", b"error"):
            if len(data) == 1 and is_whole(data[0]):
                events.append((kind, data[0]))
                kind, next_kind, data = next_kind or b"", None, []
            data.append(value)
    return events


def is_whole(data: bytes) -> bool:
    """[DONE], nothing or a JSON object, after which nothing can follow."""
    try:
        return data.strip(b" \t\r\n") in (b"[DONE]", *NOTHING) or isinstance(delta.read(data), delta.Object)
    except ValueError:
        return False


def lines(stream: bytes) -> list[bytes]:
    return re.split(rb"\r\n|\n|\r", stream)
