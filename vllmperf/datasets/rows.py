"""Rows of JSON, JSON lines, CSV, Parquet, Arrow and text files, read as streams; a bad one is named with its file and place."""

from __future__ import annotations

import codecs
import csv
import importlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from vllmperf import text_file
from vllmperf.errors import SettingError, UsageError

PIECE = 1 << 20
BETWEEN = re.compile(r"[\s,\[\]]*")
"""What stands between the elements of a JSON list, or the rows of JSON lines."""
CUT_CHARS = 16
"""A JSON error so near to the end of what was read may be the cut itself (`fal`, `\\u12`)."""
LINES = (".jsonl", ".ndjson")
TEXTS = (".txt", ".text")
COLUMNAR = (".parquet", ".arrow")


class Row(NamedTuple):
    """One row, and where it stands: its number from 1 on and, in a text file, its line."""

    path: str
    number: int
    line: int | None
    value: Any

    @property
    def place(self) -> str:
        return f"{self.path} row {self.number}" + ("" if self.line is None else f", line {self.line}")

    def bad(self, what: str) -> UsageError:
        return UsageError(f"{self.place}: {what}")

    @property
    def fields(self) -> dict[str, Any]:
        """The row as an object. UsageError for another one."""
        if not isinstance(self.value, dict):
            raise self.bad("this is no JSON object")
        return self.value

    def text(self, name: str) -> str:
        """The field's text. UsageError when it has none."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise self.bad(f'the row has no text "{name}"')
        return value


class File(NamedTuple):
    """A file of rows. of: what it was given by, for errors: a setting in braces, or a flag."""

    path: Path
    of: str = "{dataset_path}"

    def bad(self, what: str) -> UsageError:
        return SettingError(f"{self.of} {{path}}{{what}}".lstrip(), path=self.path, what=what)

    def open(self) -> BinaryIO:
        if not self.path.name:
            raise SettingError(f"this data set needs {self.of} FILE")
        try:
            return self.path.open("rb")
        except OSError as error:
            raise self.bad(f": {error.strerror or error}") from None


def rows(path: str | Path, of: str = "{dataset_path}", *, form: str | None = None) -> Iterator[Row]:
    """The rows of a file, by its suffix; other suffixes are read as JSON: one list, or objects one after the other.
    A row of a text file is a line that holds something, with its line end.

    form: a suffix that counts in the place of the file's own. Raises UsageError for what cannot be read, a bad row when
    it is its turn.
    """
    file, kind = File(Path(path), of), (form or Path(path).suffix).lower()
    if kind in COLUMNAR:
        return _columnar(file, kind)
    by_kind = {**dict.fromkeys(LINES, _json_lines), **dict.fromkeys(TEXTS, _text), ".csv": _csv}
    return by_kind.get(kind, _json)(file)


def lines(path: str | Path, of: str = "{dataset_path}") -> list[str]:
    """The lines of a text file that hold something, each with its line end. UsageError when there is none."""
    found = [row.value for row in rows(path, of, form=TEXTS[0])]
    if not found:
        raise File(Path(path), of).bad(" is empty")
    return found


# ---- text ----


def _text(file: File) -> Iterator[Row]:
    for number, (line, text) in enumerate(_lines(file), 1):
        yield Row(str(file.path), number, line, text.rstrip() + "\n")


def _lines(file: File) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that hold something."""
    return ((number, line) for number, line in enumerate(_all_lines(file), 1) if line.strip())


def _all_lines(file: File) -> Iterator[str]:
    """Without their LF; other marks that Unicode has for lines may stand within a text."""
    rest = ""
    with file.open() as opened:
        for piece in _pieces(file, opened):
            *whole, rest = (rest + piece).split("\n")
            yield from whole
    yield rest


def _pieces(file: File, opened: BinaryIO) -> Iterator[str]:
    """The file's text, a piece at a time."""
    decode = codecs.getincrementaldecoder(_encoding(file, opened))().decode
    line = 1
    try:
        while piece := opened.read(PIECE):
            if text := decode(piece):
                yield text
            line += text.count("\n")
        decode(b"", True)
    except UnicodeDecodeError as error:
        line += error.object.count(b"\n", 0, error.start)
        raise file.bad(f" {text_file.no_text(error, line)}") from None


def _encoding(file: File, opened: BinaryIO) -> str:
    """How the file is written, by its first bytes; it is at its start again."""
    head = opened.read(text_file.HEAD_BYTES)
    opened.seek(0)
    try:
        return text_file.encoding_of(head)
    except text_file.NoTextError as error:
        raise file.bad(f" {error}") from None


# ---- JSON ----


def _json_lines(file: File) -> Iterator[Row]:
    for number, (line, text) in enumerate(_lines(file), 1):
        try:
            yield Row(str(file.path), number, line, json.loads(text))
        except (ValueError, RecursionError) as error:
            raise Row(str(file.path), number, line, None).bad(f"this is no JSON ({error})") from None


def _json(file: File) -> Iterator[Row]:
    """Each element, holding no more of the file than a piece and an element."""
    with file.open() as opened:
        yield from _values(file, opened)


def _values(file: File, opened: BinaryIO) -> Iterator[Row]:
    decoder = json.JSONDecoder()
    pieces = _pieces(file, opened)
    text, at = "", 0
    number, line = 1, 1  # of the place `at`
    while True:
        start = _end_of_gap(text, at)
        try:
            if start == len(text):
                raise json.JSONDecodeError("the file ends", text, start)
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            if _may_be_cut(error, text) and (more := next(pieces, "")):
                text, at = text[at:] + more, 0
                continue
            if start == len(text):
                return
            wrong_line = line + text.count("\n", at, getattr(error, "pos", start))
            why = getattr(error, "msg", error)
            raise Row(str(file.path), number, wrong_line, None).bad(f"this is no JSON ({why})") from None
        yield Row(str(file.path), number, line + text.count("\n", at, start), value)
        line += text.count("\n", at, end)
        number += 1
        # Cut off what is done with, but not at every row: that would copy the piece each time.
        text, at = (text[end:], 0) if end > PIECE // 2 else (text, end)


def _end_of_gap(text: str, at: int) -> int:
    match = BETWEEN.match(text, at)
    return match.end() if match else at


def _may_be_cut(error: Exception, text: str) -> bool:
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos >= len(text) - CUT_CHARS or error.msg.startswith("Unterminated string")


# ---- tables ----


def _csv(file: File) -> Iterator[Row]:
    try:
        text = text_file.read(file.path, newline="")
    except OSError as error:
        raise file.bad(f": {error.strerror or error}") from None
    except text_file.NoTextError as error:
        raise file.bad(f" {error}") from None
    reader = csv.DictReader(io.StringIO(text))
    try:
        for number, row in enumerate(reader, 1):
            yield Row(str(file.path), number, reader.line_num, row)
    except csv.Error as error:
        raise file.bad(f" is no CSV ({error})") from None


def _columnar(file: File, kind: str) -> Iterator[Row]:
    """Of a Parquet or Arrow file (file or stream), by pyarrow."""
    try:
        arrow = importlib.import_module("pyarrow")
        importlib.import_module("pyarrow.ipc")
    except ImportError:
        raise file.bad(
            f": pyarrow reads {kind} files and is not installed: pip install 'vllmperf[datasets]', or give .jsonl or .csv"
        ) from None
    try:
        table = _parquet(file.path) if kind == ".parquet" else _arrow(arrow, file.path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these two
        raise file.bad(f" cannot be read: {' '.join(str(error).split())}") from None
    for number, row in enumerate(table.to_pylist(), 1):
        yield Row(str(file.path), number, None, row)


def _parquet(path: Path) -> Any:
    return importlib.import_module("pyarrow.parquet").read_table(path)


def _arrow(arrow: Any, path: Path) -> Any:
    with arrow.memory_map(str(path)) as source:
        try:
            return arrow.ipc.open_file(source).read_all()
        except arrow.ArrowInvalid:
            source.seek(0)
            return arrow.ipc.open_stream(source).read_all()
