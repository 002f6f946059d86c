"""Text files of other people: UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
)
HEAD_BYTES = 5
"""Of a file, that tell what it is."""


class NoTextError(ValueError):
    """The file is no text; says why, as the end of a sentence that begins with its name."""


def encoding_of(head: bytes) -> str:
    """How to decode a file that begins so. Raises NoTextError for a compressed one."""
    packed = next((name for magic, name in PACKED if head.startswith(magic)), None)
    if packed:
        raise NoTextError(f"is compressed ({packed}): unpack it first")
    return next((name for mark, name in MARKS if head.startswith(mark)), "utf-8-sig")


def decoded(data: bytes) -> str:
    """The text of a whole file, without its byte order mark. Raises NoTextError, which names the line."""
    encoding = encoding_of(data[:HEAD_BYTES])
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise NoTextError(no_text(error, data.count(b"\n", 0, error.start) + 1)) from None


def no_text(error: UnicodeDecodeError, line: int) -> str:
    """What is wrong with the bytes of a line."""
    name = "UTF-8" if error.encoding.startswith("utf-8") else error.encoding.upper()
    return f"is no {name} text: line {line} has the byte 0x{error.object[error.start]:02x}; save the file as UTF-8"


def read(path: str | Path, newline: str | None = None) -> str:
    """The text of a file; newline as for open(): by default CR LF and CR become LF. Raises OSError, NoTextError."""
    text = decoded(Path(path).read_bytes())
    return text if newline == "" or "\r" not in text else io.StringIO(text, newline).read()
