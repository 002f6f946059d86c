"""Takes off what a collector put around a line: stamps, names of pods and containers, JSON.

Each collector is recognized line by line, so that one file may mix them, and several may lie around each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from vllmperf.starts.log.process import NAME
from vllmperf.starts.log.stamps import NS_PER_S, has_zone, instant

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
    local: bool = False  # the stamp has no zone: it was read as UTC
    source: str = ""  # pod and container, service: which of several logs in one file
    prefix: str = ""  # what was taken off only because a header of vLLM's stood behind it
    bare: bool = False  # it is known to be a message with nothing around it


class _Peeled(NamedTuple):
    text: str
    stamp: str | None = None
    partial: bool = False
    stream: str = ""
    source: str = ""
    only_here: bool = False  # it is an envelope only because a header of vLLM's stands behind it


_ZONE = r"(?:Z|[+-]\d\d:?\d\d)"
_LOCAL = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d++)?+"
_RFC3339 = rf"{_LOCAL}{_ZONE}"
_LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
_HEADER_NEXT = (
    r"(?=(?:\[[^\]\s]{1,40}\] )?(?:\([^()\n]{0,200}?\bpid="
    rf"|(?:{_LEVELS})(?: (?:\d{{4}}[-/])?\d\d[-/]\d\d|:)))"
)

# No pattern here looks at a stretch of text more than once: a log may have lines of any length.
_CRI = re.compile(rf"({_RFC3339}) (stdout|stderr) ([FP])(?: (.*))?$", re.S)
_POD = re.compile(r"\[(pod/[^\]\s]++)\] ?(.*)", re.S)
_STAMP = re.compile(rf"({_RFC3339})(?:\s(.*))?$", re.S)
_FLUENTD = re.compile(rf"({_LOCAL} ?{_ZONE}) [\w.*/-]++: ?(\{{.*)", re.S)
_BARRED_STAMP = re.compile(rf"\s*+(?:\|\s*+)?({_RFC3339}) \| ?(.*)", re.S)
_ACTIONS = re.compile(rf"[^\t]++\t[^\t]++\t\ufeff?({_RFC3339}) ?(.*)", re.S)
_COMPOSE = re.compile(r"([A-Za-z0-9][\w.@/-]{0,80}) *+\| ?(.*)", re.S)
_LOCAL_BAR = re.compile(rf"({_LOCAL}) \| ?(.*)", re.S)
_PM2 = re.compile(r"\d++\|[\w.-]++ *+\| ?(.*)", re.S)
_LABELS = r'\{(?:\w++="(?:[^"\\]|\\.)*+"(?:, ?)?)*+\}'
_LOKI_LABELS = re.compile(rf"{_LABELS}\s++(.*)", re.S)
_JOURNAL = re.compile(
    r"(?:[A-Z][a-z]{2} (?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d++)? \S++)|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d++)?)"
    r" \S++ [^\s:\[\]]++(?:\[\d++\])?: ?(.*)",
    re.S,
)
_JOURNAL_ISO = re.compile(rf"({_RFC3339}) \S++ [^\s:\[\]]++\[\d++\]: ?(.*)", re.S)
_JOURNAL_UNIX = re.compile(r"(\d{10}\.\d{3,9}) \S++ [^\s:\[\]]++(?:\[\d++\])?: ?(.*)", re.S)
_SYSLOG = re.compile(rf"<\d++>\d? ?({_RFC3339}) \S++ \S++ \S++ \S++ (?:-|\[[^\]]*+\]) ?(.*)", re.S)
_BRACKETED = re.compile(rf"[\[(]({_RFC3339}|{_LOCAL} (?:UTC|{_ZONE}))[\])]:?+ ?(.*)", re.S)
_BEFORE_HEADER = re.compile(
    rf"[\[(]?(?:({_LOCAL})|\d\d:\d\d:\d\d(?:[.,]\d++)?+)[\])]?\s*+(?:[|-]\s*+)?{_HEADER_NEXT}(.*)", re.S
)
_STERN = re.compile(rf"(?:[a-z][\w.:/-]*+\s++){{1,3}}(?:[›│|>]\s++)?{_HEADER_NEXT}(.*)", re.S)
_POD_NAME = re.compile(r"(?=[a-z0-9.-]*\d)[a-z][a-z0-9.]*+(?:-[a-z0-9.]++)+")
_STERN_STAMP = re.compile(
    rf"((?:[a-z0-9][\w.:/-]*+\s++){{0,2}}[a-z][\w.:/-]*+)\s++(?:[›│|>]\s++)?({_RFC3339})\s(.*)", re.S
)
_RANK_LABEL = re.compile(rf"(?:\[(?:rank)?\d++\]|\d++)(?::? ++|[:|-]){_HEADER_NEXT}(.*)", re.S)
_QUOTE = re.compile(r"(?:> ?)++(.*)", re.S)
_PROCESSES_JSON = re.compile(rf"((?:{NAME}\s*+)++)(\{{.*\}})\s*+$", re.S)
_HEADER_IS_NEXT = re.compile(_HEADER_NEXT)
_BORDERS = "│┃║▏▕|"


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


def _before_header(pattern: re.Pattern[str], with_stamp: bool = False) -> Callable[[str], _Peeled | None]:
    def peel(text: str) -> _Peeled | None:
        found = pattern.match(text)
        stamp = found[1] if found and with_stamp else None
        return _Peeled(found[found.re.groups], stamp, only_here=True) if found else None

    return peel


def _pod(text: str) -> _Peeled | None:
    found = _POD.match(text)
    return _Peeled(found[2], stream=found[1], source=found[1]) if found else None


def _compose(text: str) -> _Peeled | None:
    found = _COMPOSE.match(text)
    return _Peeled(found[2], stream=found[1], source=found[1]) if found else None


def _stern(text: str) -> _Peeled | None:
    """`stern --timestamps`: pod, container, stamp."""
    found = _STERN_STAMP.match(text)
    return _Peeled(found[3], found[2], source=f"pod/{found[1]}") if found else None


def _stern_plain(text: str) -> _Peeled | None:
    """stern without stamps: pod and container, or one word. Other lines with these names are of that pod, too."""
    found = _STERN.match(text)
    if found is None:
        return None
    return _Peeled(found[1], source=pod_before(text[: found.start(1)]), only_here=True)


def pod_before(prefix: str) -> str:
    """`pod/NAME CONTAINER` where words before a line may be a pod's and a container's name; else ""."""
    words = prefix.replace("│", " ").replace("›", " ").split()
    is_pod = len(words) > 1 and any(_POD_NAME.fullmatch(word) for word in words[:-1])
    return f"pod/{' '.join(words)}" if is_pod else ""


def _pane(text: str) -> _Peeled | None:
    """A row between the borders of a terminal's pane, without the blanks that fill it."""
    end = text.rstrip()
    if len(end) < 3 or end[-1] != text[0]:
        return None
    row = end[1:-1].rstrip().removeprefix(" ")
    return _Peeled(row) if text[0] != "|" or _HEADER_IS_NEXT.match(row) else None  # tables have bars, too


_DIGIT: tuple[Callable[[str], _Peeled | None], ...] = (
    _cri,
    _first_is_stamp(_JOURNAL_ISO),
    _first_is_stamp(_BARRED_STAMP),
    _first_is_stamp(_FLUENTD),
    _first_is_stamp(_STAMP),
    _first_is_stamp(_JOURNAL_UNIX),
    _first_is_stamp(_LOCAL_BAR),
    _before_header(_BEFORE_HEADER, with_stamp=True),
    _only_text(_PM2),
    _before_header(_RANK_LABEL),
    _compose,
)
_BRACKET = (
    _pod,
    _first_is_stamp(_BRACKETED),
    _before_header(_BEFORE_HEADER, with_stamp=True),
    _before_header(_RANK_LABEL),
)
_ROUND_BRACKET = (_first_is_stamp(_BRACKETED), _before_header(_BEFORE_HEADER, with_stamp=True))
_LETTER = (_compose, _only_text(_JOURNAL), _first_is_stamp(_ACTIONS), _stern, _stern_plain)
_LESS = (_first_is_stamp(_SYSLOG),)
_BLANK_OR_BAR = (_first_is_stamp(_BARRED_STAMP),)
_OWN = re.compile(rf"(?:{_LEVELS})(?: (?:\d{{4}}[-/])?\d\d[-/]\d\d |: )")


def _peelers(text: str) -> tuple[Callable[[str], _Peeled | None], ...]:
    first = text[0]
    if first.isdecimal():
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
    if first == "(":
        return _ROUND_BRACKET if text[1:2].isdecimal() else ()
    if first in _BORDERS:
        return (_pane, *_BLANK_OR_BAR)
    return _BLANK_OR_BAR if first in " \t\u00a0" else ()


def unwrap(text: str, outer: Wrapped | None = None, partials: dict[str, list[str]] | None = None) -> Wrapped:
    """A line as its process printed it, with what the collectors around it said.

    outer: what is known of it already. partials: {stream: beginning of a long line that was cut}; a line that is
    only a part is kept there and given back with `partial` set.
    """
    line = Wrapped(text) if outer is None else outer._replace(text=text)
    if outer is None and text[:1] == "(" and "{" not in text and not text[1:2].isdecimal():
        return line  # a process before vLLM's own form: most lines are so
    partials = {} if partials is None else partials
    for _ in range(MAX_NESTING):
        inner = _json(line) or _peel(line)
        if inner is None:
            break
        if inner.partial:
            partials.setdefault(inner.stream, []).append(inner.text[:LONGEST_LINE])
            return inner
        if partials and inner.stream in partials:
            whole = "".join((*partials.pop(inner.stream), inner.text))
            inner = inner._replace(text=whole[:LONGEST_LINE])
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
            inner = line._replace(
                text=found.text,
                partial=line.partial or found.partial,
                stream=line.stream + found.stream,
                source=line.source or found.source,
                prefix=line.text[: len(line.text) - len(found.text)] if found.only_here else line.prefix,
            )
            return stamped(inner, found.stamp) if found.stamp else inner
    return None


def stamped(line: Wrapped, text: str) -> Wrapped:
    """With a stamp that stood nearer to the process than the ones before; one without a zone says less than one with."""
    ns, digits = instant(text)
    local = not has_zone(text)
    if ns is None or (local and line.stamp_ns is not None and not line.local):
        return line
    return line._replace(stamp_ns=ns, digits=digits, local=local)


# --- JSON

_TEXT_KEYS = (
    *("MESSAGE", "textPayload", "log", "message", "msg", "line", "text", "body", "event", "content", "_raw"),
)
_STAMP_KEYS = (
    "__REALTIME_TIMESTAMP",
    "timestamp",
    "@timestamp",
    "time",
    "ts",
    "Timestamp",
    "receiveTimestamp",
    "_time",
)
_FILE_KEYS = (
    *("filename", "fileinfo", "pathname", "file", "caller", "module"),
    *("code.file.path", "code.filepath"),
)
_NESTED_KEYS = ("jsonPayload", "_source", "fields", "record", "attributes", "data", "content", "result")
_NO_PYTHON = re.compile(r"\.(?:go|rs|js|ts|java|kt|c|cc|cpp|rb)(?::\d{1,9})?$")
_POD_PLACES = ("kubernetes", "labels", "fields", "resource", "stream", "metadata")
_POD_NAMES = ("pod_name", "podName", "pod", "pod.name", "k8s_pod_name", "kubernetes_pod_name")
_CONTAINER_NAMES = ("container_name", "containerName", "container", "container.name")


def _json(line: Wrapped) -> Wrapped | None:
    if "{" not in line.text:
        return None
    text = line.text.strip().rstrip(",")
    prefix = ""
    if text.startswith("(") and text.endswith("}") and (found := _PROCESSES_JSON.match(text)):
        prefix, text = found[1], found[2]
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    inner = from_json(value) or from_unknown(value) if isinstance(value, dict) else None
    if inner is None:
        return None
    if inner.stamp_ns is None or (inner.local and line.stamp_ns is not None and not line.local):
        inner = inner._replace(stamp_ns=line.stamp_ns, digits=line.digits, local=line.local)
    return inner._replace(
        text=prefix + inner.text, stream=line.stream + inner.stream, source=line.source or inner.source
    )


def from_json(entry: Mapping[str, Any]) -> Wrapped | None:
    """One log entry of docker, journald, Loki, Cloud Logging, CloudWatch or a JSON logger; None when it has no text."""
    outer, entry = entry, _flat(entry)
    texts = (_text(entry.get(key)) for key in _TEXT_KEYS)
    text = next((found for found in texts if found is not None), None)
    if text is None:
        return None
    stamp, digits = next(
        (found for key in _STAMP_KEYS if (found := _json_instant(key, entry.get(key)))[0] is not None),
        (None, 0),
    )
    time = _string(entry, "asctime", "time", "timestamp", "@timestamp", "ts", "_time")
    local = stamp is None and time is not None
    if stamp is None and time is not None:  # without a zone
        stamp, digits = instant(time)
    docker = isinstance(entry.get("log"), str) and "stream" in entry
    return Wrapped(
        text=text.removesuffix("\n"),
        stamp_ns=stamp,
        digits=digits,
        local=local and stamp is not None,
        partial=entry.get("logtag") == "P"
        or (docker and len(text) >= DOCKER_CHUNK and not text.endswith("\n")),
        stream=str(entry.get("stream", "")) if docker else "",
        source=pod_of(outer),
        level=_string(entry, "levelname", "level", "severity", "lvl"),
        file=_file(entry),
        name=_string(entry, "name", "logger", "logger_name"),
        time=time,
        json=True,
    )


def pod_of(entry: Mapping[str, Any]) -> str:
    """`pod/NAME/CONTAINER` as the collector says it beside the text; "" where it does not."""
    places = [entry, *(entry[key] for key in _POD_PLACES if isinstance(entry.get(key), dict))]
    places += [place["labels"] for place in places[1:] if isinstance(place.get("labels"), dict)]
    for place in places:
        pod, container = _name_in(place, _POD_NAMES), _name_in(place, _CONTAINER_NAMES)
        if pod:
            return f"pod/{pod}/{container}" if container else f"pod/{pod}"
    return ""


def _name_in(place: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = place.get(name)
        value = value.get("name") if isinstance(value, dict) else value
        if isinstance(value, str) and value:
            return value
    return None


def from_unknown(entry: Mapping[str, Any]) -> Wrapped | None:
    """One log entry of a collector that no table knows: its text has vLLM's header, or it is the longest of several words."""
    texts = [text for text in _strings(entry) if " " in text.strip()]
    text = next((each for each in texts if _HEADER_IS_NEXT.match(each)), max(texts, key=len, default=None))
    return None if text is None else from_json({**entry, _TEXT_KEYS[0]: text})


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)


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
        if key == "__REALTIME_TIMESTAMP" and value.isdecimal() and len(value) < 20:
            return int(value) * 1000, 6
        if value.isdecimal() and 13 <= len(value) < 20:
            return epoch(int(value))
        # Without a zone it is the logger's own local time, no instant.
        return instant(value) if has_zone(value) else (None, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, 0
    return epoch(value)


def epoch(value: float) -> tuple[int | None, int]:
    """A number as seconds, ms, µs or ns since the epoch, by its size."""
    for scale, digits in ((1, 9), (1_000, 6), (1_000_000, 3), (NS_PER_S, 0)):
        ns = value * scale
        if 9e17 < ns < 9e18:
            return int(ns), 6 if isinstance(value, float) else digits
    return None, 0


def _string(entry: Mapping[str, Any], *keys: str) -> str | None:
    return next((entry[key] for key in keys if isinstance(entry.get(key), str)), None)


def _file(entry: Mapping[str, Any]) -> str | None:
    found = _string(entry, *_FILE_KEYS)
    if found is None or _NO_PYTHON.search(found):
        return None
    return found.split(":")[0] if ".py" in found else f"{found}.py"
