"""The event stream rules of the HTML standard (section 9.2.6), slow and obvious: the whole input at once."""

import re

BOM = b"\xef\xbb\xbf"


def parse(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The (type, data) events. One departure: an event whose blank line is missing at the end still counts."""
    events: list[tuple[bytes, bytes]] = []
    kind, data = b"", []
    for line in [*lines(stream.removeprefix(BOM)), b""]:
        if line == b"":
            if data:
                events.append((kind, b"\n".join(data)))
            kind, data = b"", []
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
    return events


def lines(stream: bytes) -> list[bytes]:
    return re.split(rb"\r\n|\n|\r", stream)
