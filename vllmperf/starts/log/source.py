"""Opens a log, whatever holds it: plain, .gz, standard input, UTF-16, one JSON array. Reads it in blocks."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import re
import sys
import time
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from vllmperf.errors import UsageError
from vllmperf.starts.log import otlp, table
from vllmperf.starts.log.envelope import Wrapped, from_json, from_unknown, pod_of

BLOCK = 1 << 20
HEAD = 1 << 16
LONGEST_LINE = 1 << 22
WHOLE_LIMIT = 1 << 29  # a JSON array or a log in backward order is read whole up to here
_JSON_START = re.compile(rb'\[\s*[\[{"]|\{\s*"')
_HOLE = b"\0" * 16
_GZIP = b"\x1f\x8b"
_ENCODINGS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Source(NamedTuple):
    name: str
    stream: BinaryIO
    head: bytes  # the first bytes, already taken from the stream
    date_ns: int | None  # when the file was last written
    date_from: str


@contextlib.contextmanager
def open_source(path: str | Path | BinaryIO) -> Iterator[Source]:
    """Opens a path, "-" or a binary file. UsageError when there is no text to read."""
    with contextlib.ExitStack() as stack:
        name, raw, date_ns = _raw(path, stack)
        date_from = "assumed" if date_ns is None else "file date"
        try:
            stream = _plain(raw, stack)
            head = _head(stream)
            if not head:
                raise UsageError(f"{name} is empty: there is no log in it.")
            encoding = _encoding(head)
            if encoding:
                stream = cast(BinaryIO, _Decoded(stream, head, encoding))
                head = _full_read(stream, HEAD)
            if _is_binary(head):
                raise UsageError(f"{name} is no text: give a log file, or one packed by gzip.")
            yield Source(name, stream, head, date_ns if date_ns is not None else time.time_ns(), date_from)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise UsageError(f"{name} is a damaged .gz file ({error}).") from None
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror or error}.") from None


def _raw(path: str | Path | BinaryIO, stack: contextlib.ExitStack) -> tuple[str, BinaryIO, int | None]:
    if not isinstance(path, str | Path):
        return str(getattr(path, "name", "-")), path, None
    if str(path) == "-":
        return "-", sys.stdin.buffer, None
    try:
        if Path(path).is_dir():
            raise UsageError(f"{path} is a folder: give the log files in it.")
        opened = stack.enter_context(Path(path).open("rb"))  # noqa: SIM115
        return str(path), opened, Path(path).stat().st_mtime_ns
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from None


def _plain(raw: BinaryIO, stack: contextlib.ExitStack) -> BinaryIO:
    """The stream, unpacked when it begins as gzip does, whatever its name says."""
    first = _full_read(raw, 2)
    joined = _Joined(first, raw)
    if first == _GZIP:
        return cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=cast(BinaryIO, joined), mode="rb")))
    return cast(BinaryIO, joined)


def _head(stream: BinaryIO) -> bytes:
    """The first bytes, without the hole that a log has at its beginning when it was cut while its server wrote on."""
    first = head = _full_read(stream, HEAD)
    while head.startswith(_HOLE):
        rest = head.lstrip(b"\0")
        head = rest + _full_read(stream, HEAD - len(rest))
    return head or first


def _full_read(stream: BinaryIO, size: int) -> bytes:
    """Up to size bytes; a pipe may give fewer at a time."""
    out = bytearray()
    while len(out) < size and (piece := stream.read(size - len(out))):
        out += piece
    return bytes(out)


class _Joined(io.RawIOBase):
    """Bytes that were already read, and the stream that they came from."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        first, self._first = self._first, b""
        if first and 0 <= size < len(first):
            first, self._first = first[:size], first[size:]
        return first or self._rest.read(size)


class _Decoded(io.RawIOBase):
    """UTF-16 as UTF-8."""

    def __init__(self, stream: BinaryIO, head: bytes, encoding: str) -> None:
        self._stream, self._head = stream, head
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        raw, self._head = self._head or self._stream.read(size), b""
        return self._decoder.decode(raw, final=not raw).encode()


def _encoding(head: bytes) -> str | None:
    for mark, name in _ENCODINGS.items():
        if head.startswith(mark):
            return name
    sample = head[:4096]
    odd, even, half = sample[1::2].count(0), sample[::2].count(0), len(sample) / 2
    if len(sample) >= 16 and max(odd, even) > 0.6 * half and min(odd, even) < 0.1 * half:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def _is_binary(head: bytes) -> bool:
    """Control bytes that no log holds. Some NUL bytes are: a rotated file often begins with a hole."""
    controls = sum(head.count(bytes([byte])) for byte in (*range(1, 7), *range(14, 27), *range(28, 32)))
    if controls * 50 > len(head):
        return True
    sample = head.replace(b"\0", b"")
    return len(sample) * 10 < len(head) or (b"\n" not in head and len(head) == HEAD and _undecodable(sample))


def _undecodable(sample: bytes) -> bool:
    return sample[:4096].decode("utf-8", "replace").count("�") > 200


def blocks(source: Source, size: int = BLOCK) -> Iterator[bytes]:
    """The text in pieces that end at a line's end, the last one perhaps not. A line without an end, as a progress bar
    makes it, is cut at a carriage return."""
    rest, block = b"", source.head
    while block:
        joined = rest + block if rest else block
        cut = block.rfind(b"\n") + 1
        if cut:
            cut += len(rest)
        elif len(joined) > LONGEST_LINE:
            cut = joined.rfind(b"\r") + 1 or len(joined)
        if cut:
            yield joined[:cut]
            joined = joined[cut:]
        rest = joined
        block = source.stream.read(size)
    if rest:
        yield rest


# --- files that are one JSON value


def json_entries(source: Source) -> list[tuple[int, Wrapped]] | None:
    """(place from 1, entry) in order of time when the whole file is one JSON value; None when it is not, or is lines."""
    start = source.head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not _JSON_START.match(start) or _is_json_line(start):
        return None
    data = source.head + _full_read(source.stream, WHOLE_LIMIT)
    try:
        value = json.loads(data.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        value = _many(data)
    entries = list(_entries(value)) if value is not None else []
    if not entries:
        raise NotJsonError(data)
    return _by_time(list(enumerate(entries, 1)))


def table_entries(source: Source) -> list[tuple[int, Wrapped]] | None:
    """(row from 1, entry) in order of time when the file is a table with names of columns; None when it is none."""
    if not table.is_one(source.head):
        return None
    data = source.head + _full_read(source.stream, WHOLE_LIMIT)
    found = table.entries(data)
    if not found:
        raise NotJsonError(data)
    return _by_time(list(enumerate(found, 2)))


class NotJsonError(Exception):
    """It looked like JSON, or like a table, and is none: here is what was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data


def _is_json_line(start: bytes) -> bool:
    """One object a line (an array may have its brackets on lines of their own)."""
    line = (
        next((part for part in start.split(b"\n") if part.strip() not in (b"", b"[")), b"")
        .strip()
        .rstrip(b",")
    )
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and (otlp.is_request(value) or from_json(value) is not None)


def _many(data: bytes) -> list[Any] | None:
    """Several JSON values behind each other, over many lines each (`jq`, `gcloud … --format=json` twice)."""
    text, at, out = data.decode("utf-8", "replace"), 0, []
    decoder = json.JSONDecoder()
    while at < len(text):
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at == len(text):
            break
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        out.extend(value if isinstance(value, list) else [value])
    return out


def _entries(value: Any) -> Iterator[Wrapped]:
    if isinstance(value, list):
        if (row := _fields(value)) is not None:
            yield from _of_object(row)
            return
        for item in value:
            yield from _entries(item)
    elif isinstance(value, str):
        yield Wrapped(value)
    elif isinstance(value, dict):
        yield from _of_object(value)


def _fields(row: list[Any]) -> dict[str, Any] | None:
    """An entry of CloudWatch's Insights: [{"field": "@message", "value": …}, …], whose stamps are UTC."""
    if not row or not all(isinstance(each, dict) and each.keys() == {"field", "value"} for each in row):
        return None
    named = {str(each["field"]).removeprefix("@"): each["value"] for each in row}
    stamp = named.get("timestamp")
    return {**named, "timestamp": f"{stamp}Z"} if isinstance(stamp, str) else named


def _of_object(value: dict[str, Any]) -> Iterator[Wrapped]:
    if otlp.is_request(value):
        yield from otlp.records(value)
        return
    streams = _loki_streams(value)
    if streams is not None:
        for stamp, text, named in streams:
            yield Wrapped(text, int(stamp), 9, source=named)
        return
    entry = from_json(value)
    if entry is not None:
        yield entry
        return
    for key in ("entries", "events", "hits", "logs", "results", "data"):
        if isinstance(value.get(key), list | dict):
            yield from _entries(value[key])
            return
    if (unknown := from_unknown(value)) is not None:
        yield unknown


def _loki_streams(value: dict[str, Any]) -> list[tuple[str, str, str]] | None:
    """Loki's own answer: {"data": {"result": [{"stream": …, "values": [["ns", "line"], …]}]}}; with the stream's pod."""
    inner = value.get("data", value)
    result = inner.get("result", inner.get("streams")) if isinstance(inner, dict) else None
    if (
        not isinstance(result, list)
        or not result
        or not isinstance(result[0], dict)
        or "values" not in result[0]
    ):
        return None
    return [
        (pair[0], pair[1], pod_of({"labels": stream.get("stream")}))
        for stream in result
        for pair in stream.get("values", ())
    ]


def _by_time(entries: list[tuple[int, Wrapped]]) -> list[tuple[int, Wrapped]]:
    """Most collectors answer with the newest entry first, or one stream after the other. An entry without a stamp
    stays behind the one before it."""
    stamps = [entry.stamp_ns for _, entry in entries if entry.stamp_ns is not None]
    falls, rises = falls_and_rises(stamps)
    if falls > rises:
        entries = entries[::-1]
    if min(falls, rises) == 0:
        return entries
    latest: list[int] = []
    for _, entry in entries:
        latest.append(entry.stamp_ns or (latest[-1] if latest else 0))
    return [entries[place] for place in sorted(range(len(entries)), key=latest.__getitem__)]


def falls_and_rises(stamps: list[int]) -> tuple[int, int]:
    """How often the next stamp is earlier, and how often later."""
    return sum(a > b for a, b in pairwise(stamps)), sum(a < b for a, b in pairwise(stamps))
