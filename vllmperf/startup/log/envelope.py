"""Takes off what a collector put around a line: stamps, names of pods and containers, JSON.

Each collector is recognized line by line, so that one file may mix them, and several may lie around each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

NS_PER_S = 1_000_000_000
MAX_NESTING = 6
LONGEST_LINE = 1_000_000
DOCKER_CHUNK = 16_000  # docker cuts lines at 16 KiB


class Wrapped(NamedTuple):
    """A line without its envelope."""

    text: str
    stamp_ns: int | None = None  # the collector's own instant, UTC
    digits: int = 0  # of the stamp's fraction of a second
    partial: bool = False  # the line goes on in the next one of the same stream
    stream: str = ""
    level: str | None = None  # from here on: what a JSON log says beside its message
    file: str | None = None
    name: str | None = None
    time: str | None = None
    json: bool = False
    dated: str | None = None  # the collector's stamp where it has no zone
    source: str = ""  # pod and container, service: which of several logs in one file


class _Peeled(NamedTuple):
    text: str
    stamp: str | None = None
    partial: bool = False
    stream: str = ""
    dated: str | None = None
    source: str = ""


_RFC3339 = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)"
_PROCESS = r"\([^()\s]*(?:\([^()]*\))?[^()]*?\bpid=\d+[^()]*\)"
_HEADER_NEXT = (
    r"(?=(?:\[[^\]\s]{1,40}\] )?(?:\([^()]*pid=|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)(?: \d\d-\d\d|:)))"
)

_CRI = re.compile(rf"({_RFC3339}) (stdout|stderr) ([FP])(?: (.*))?$", re.S)
_POD = re.compile(r"\[(pod/[^\]\s]+)\] ?(.*)", re.S)
_STAMP = re.compile(rf"({_RFC3339})(?:\s(.*))?$", re.S)
_BARRED_STAMP = re.compile(rf"\s*\|?\s*({_RFC3339}) \| ?(.*)", re.S)
_ACTIONS = re.compile(rf"[^\t]+\t[^\t]+\t\ufeff?({_RFC3339}) ?(.*)", re.S)
_COMPOSE = re.compile(r"([A-Za-z0-9][\w.@/-]{0,80}) *\| ?(.*)", re.S)
_NAIVE_BAR = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?) \| ?(.*)", re.S)
_PM2 = re.compile(r"\d+\|[\w.-]+ *\| ?(.*)", re.S)
_LOKI_LABELS = re.compile(r'\{(?:\w+="(?:[^"\\]|\\.)*"(?:, ?)?)*\}\s+(.*)', re.S)
_LOKI_CLI = re.compile(r'(\S+ ?) ?(\{(?:\w+="(?:[^"\\]|\\.)*"(?:, ?)?)*\})\s+(.*)', re.S)
_JOURNAL = re.compile(
    r"(?:[A-Z][a-z]{2} (?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \S+)|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?)"
    r" \S+ [^\s:\[\]]+(?:\[\d+\])?: ?(.*)",
    re.S,
)
_JOURNAL_ISO = re.compile(rf"({_RFC3339}) \S+ [^\s:\[\]]+\[\d+\]: ?(.*)", re.S)
_JOURNAL_UNIX = re.compile(r"(\d{10}\.\d{3,9}) \S+ [^\s:\[\]]+(?:\[\d+\])?: ?(.*)", re.S)
_SYSLOG = re.compile(rf"<\d+>\d? ?({_RFC3339}) \S+ \S+ \S+ \S+ (?:-|\[.*?\]) ?(.*)", re.S)
_NAIVE = re.compile(
    rf"[\[(]?(?:\d{{4}}[-/]\d\d[-/]\d\d[T ])?\d\d:\d\d:\d\d(?:[.,]\d+)?[\])]?\s*(?:\||-)?\s*{_HEADER_NEXT}(.*)",
    re.S,
)
_STERN = re.compile(rf"(?:[a-z0-9][\w.:/-]*\s+){{1,3}}(?:[›│|>]\s+)?{_HEADER_NEXT}(.*)", re.S)
_RANK_LABEL = re.compile(rf"(?:\[(?:rank)?\d+\]|\d+)(?::? +|[:|-]){_HEADER_NEXT}(.*)", re.S)
_QUOTE = re.compile(r"(?:> ?)+(.*)", re.S)
_PROCESS_JSON = re.compile(rf"((?:{_PROCESS}\s*)+)(\{{.*\}})\s*$", re.S)


def _cri(text: str) -> _Peeled | None:
    found = _CRI.match(text)
    return _Peeled(found[4] or "", found[1], found[3] == "P", found[2]) if found else None


def _first_is_stamp(pattern: re.Pattern[str]) -> Callable[[str], _Peeled | None]:
    def peel(text: str) -> _Peeled | None:
        found = pattern.match(text)
        return _Peeled(found[2] or "", found[1]) if found else None

    return peel


def _only_text(pattern: re.Pattern[str]) -> Callable[[str], _Peeled | None]:
    def peel(text: str) -> _Peeled | None:
        found = pattern.match(text)
        return _Peeled(found[found.re.groups]) if found else None

    return peel


def _naive_bar(text: str) -> _Peeled | None:
    found = _NAIVE_BAR.match(text)
    return _Peeled(found[2], dated=found[1]) if found else None


def _pod(text: str) -> _Peeled | None:
    found = _POD.match(text)
    return _Peeled(found[2], stream=found[1], source=found[1]) if found else None


def _compose(text: str) -> _Peeled | None:
    found = _COMPOSE.match(text)
    return _Peeled(found[2], stream=found[1], source=found[1]) if found else None


_DIGIT: tuple[Callable[[str], _Peeled | None], ...] = (
    _cri,
    _first_is_stamp(_JOURNAL_ISO),
    _first_is_stamp(_BARRED_STAMP),
    _first_is_stamp(_STAMP),
    _first_is_stamp(_JOURNAL_UNIX),
    _naive_bar,
    _only_text(_NAIVE),
    _only_text(_PM2),
    _only_text(_RANK_LABEL),
    _compose,
)
_BRACKET = (_pod, _only_text(_NAIVE), _only_text(_RANK_LABEL))
_LETTER = (_compose, _only_text(_JOURNAL), _first_is_stamp(_ACTIONS), _only_text(_STERN))
_LESS = (_first_is_stamp(_SYSLOG),)
_BLANK_OR_BAR = (_first_is_stamp(_BARRED_STAMP),)
_OWN = re.compile(r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)(?: \d\d-\d\d |: )")


def _peelers(text: str) -> tuple[Callable[[str], _Peeled | None], ...]:
    first = text[0]
    if first.isdigit():
        return _DIGIT
    if first == "[":
        return _BRACKET
    if first.isalpha():
        return () if _OWN.match(text) else _LETTER
    if first == "<":
        return _LESS
    if first == "{":
        return (_only_text(_LOKI_LABELS),)
    if first == ">":
        return (_only_text(_QUOTE),)
    return _BLANK_OR_BAR if first in " |\t\u00a0" else ()


def unwrap(text: str, outer: Wrapped | None = None, partials: dict[str, str] | None = None) -> Wrapped:
    """A line as its process printed it, with what the collectors around it said.

    outer: what is known of it already. partials: {stream: beginning of a long line that was cut}; a line that is
    only a part is kept there and given back with `partial` set.
    """
    line = Wrapped(text) if outer is None else outer._replace(text=text)
    partials = {} if partials is None else partials
    for _ in range(MAX_NESTING):
        inner = _json(line) or _peel(line)
        if inner is None:
            break
        if inner.partial:
            before = partials.get(inner.stream, "")
            partials[inner.stream] = before + inner.text if len(before) < LONGEST_LINE else before
            return inner
        if partials and inner.stream in partials:
            inner = inner._replace(text=partials.pop(inner.stream) + inner.text)
        line = inner
        if not line.text:
            break
    return line


def _peel(line: Wrapped) -> Wrapped | None:
    if not line.text:
        return None
    for peeler in _peelers(line.text):
        found = peeler(line.text)
        if found is not None:
            # The inner stamp is nearer to the process.
            stamp, digits = instant(found.stamp) if found.stamp else (None, 0)
            return line._replace(
                text=found.text,
                stamp_ns=line.stamp_ns if stamp is None else stamp,
                digits=line.digits if stamp is None else digits,
                partial=line.partial or found.partial,
                stream=line.stream + found.stream,
                dated=found.dated or line.dated,
                source=line.source or found.source,
            )
    return None


def instant(text: str) -> tuple[int | None, int]:
    """RFC 3339, or seconds since the epoch: (ns since the epoch, digits of the fraction). (None, 0) when neither."""
    if re.fullmatch(r"\d{9,11}(?:\.\d+)?", text):
        whole, _, fraction = text.partition(".")
        return int(whole) * NS_PER_S + int((fraction + "0" * 9)[:9]), min(len(fraction), 9)
    found = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)?", text.strip()
    )
    if not found:
        return None, 0
    zone = "+00:00" if found[4] in (None, "Z") else found[4]
    try:
        moment = datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}")
    except ValueError:
        return None, 0
    fraction = found[3] or ""
    return int(moment.astimezone(UTC).timestamp()) * NS_PER_S + int((fraction + "0" * 9)[:9]), min(
        len(fraction), 9
    )


# --- JSON

_TEXT_KEYS = ("MESSAGE", "textPayload", "log", "message", "msg", "line", "text", "body", "event", "content")
_STAMP_KEYS = (
    "__REALTIME_TIMESTAMP",
    "timestamp",
    "@timestamp",
    "time",
    "ts",
    "Timestamp",
    "receiveTimestamp",
)
_NESTED_KEYS = ("jsonPayload", "_source", "fields", "record", "attributes", "data")


def _json(line: Wrapped) -> Wrapped | None:
    text = line.text.strip()
    prefix = ""
    if text.startswith("(") and (found := _PROCESS_JSON.match(text)):
        prefix, text = found[1], found[2]
    text = text.rstrip(",")
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    inner = from_json(value) if isinstance(value, dict) else None
    if inner is None:
        return None
    return inner._replace(
        text=prefix + inner.text,
        stamp_ns=line.stamp_ns if inner.stamp_ns is None else inner.stamp_ns,
        digits=line.digits if inner.stamp_ns is None else inner.digits,
        stream=line.stream + inner.stream,
        source=line.source,
    )


def from_json(entry: Mapping[str, Any]) -> Wrapped | None:
    """One log entry of docker, journald, Loki, Cloud Logging, CloudWatch or a JSON logger; None when it has no text."""
    entry = _flat(entry)
    texts = (_text(entry.get(key)) for key in _TEXT_KEYS)
    text = next((found for found in texts if found is not None), None)
    if text is None:
        return None
    stamp, digits = next(
        (found for key in _STAMP_KEYS if (found := _json_instant(key, entry.get(key)))[0] is not None),
        (None, 0),
    )
    docker = isinstance(entry.get("log"), str) and "stream" in entry
    return Wrapped(
        text=text.removesuffix("\n"),
        stamp_ns=stamp,
        digits=digits,
        partial=entry.get("logtag") == "P"
        or (docker and len(text) >= DOCKER_CHUNK and not text.endswith("\n")),
        stream=str(entry.get("stream", "")) if docker else "",
        level=_string(entry, "levelname", "level", "severity", "lvl"),
        file=_file(entry),
        name=_string(entry, "name", "logger", "logger_name"),
        time=_string(entry, "asctime", "time", "timestamp"),
        json=True,
    )


def _flat(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in _NESTED_KEYS:
        inner = entry.get(key)
        if isinstance(inner, dict) and any(name in inner for name in _TEXT_KEYS):
            return {**entry, **inner}
    return entry


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
        return bytes(value).decode(
            "utf-8", "replace"
        )  # journald gives bytes so when they are not all printable
    return None


def _json_instant(key: str, value: object) -> tuple[int | None, int]:
    if isinstance(value, str):
        if key == "__REALTIME_TIMESTAMP" and value.isdigit():
            return int(value) * 1000, 6
        if value.isdigit() and len(value) >= 13:
            return _epoch(int(value))
        # Without a zone it is the logger's own local time, no instant.
        return instant(value) if re.search(r"(?:Z|[+-]\d\d:?\d\d)$", value) else (None, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, 0
    return _epoch(value)


def _epoch(value: float) -> tuple[int | None, int]:
    """A number as seconds, ms, µs or ns since the epoch, by its size."""
    for scale, digits in ((1, 9), (1_000, 6), (1_000_000, 3), (NS_PER_S, 0)):
        ns = value * scale
        if 9e17 < ns < 9e18:
            return int(ns), 6 if isinstance(value, float) else digits
    return None, 0


def _string(entry: Mapping[str, Any], *keys: str) -> str | None:
    return next((entry[key] for key in keys if isinstance(entry.get(key), str)), None)


def _file(entry: Mapping[str, Any]) -> str | None:
    found = _string(entry, "filename", "fileinfo", "pathname", "file", "caller", "module")
    if found is None:
        return None
    return found.split(":")[0] if ".py" in found else f"{found}.py"
