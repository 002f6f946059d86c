"""Logs exported as a table: CSV of Grafana, Datadog, CloudWatch, Kibana, Splunk and Azure, with names in the first row.

Only a table that names a column of times and one of texts is one; every other file is read line by line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from vllmperf.starts.log.envelope import Wrapped, epoch
from vllmperf.starts.log.stamps import find

_TEXTS = (
    "line",
    "@message",
    "message",
    "logmessage",
    "log",
    "_raw",
    "msg",
    "textpayload",
    "logentry",
    "body",
    "content",
)
_TIMES = ("tsns", "@timestamp", "timestamp", "_time", "time", "date", "timegenerated", "ts", "datetime")
_PODS = (
    "pod",
    "podname",
    "pod_name",
    "kubernetes.pod.name",
    "kubernetes.pod_name",
    "resource.labels.pod_name",
)
_DELIMITERS = ",;\t"
_LONGEST_HEADER = 4096
_SHORTEST_TIME, _LONGEST_TIME = 10, 40  # characters
_NO_TIME: tuple[int | None, int, bool] = (None, 0, False)
_BRACKET = re.compile(r" ?\[(?P<zone>[^\]]*)\]$")  # `TimeGenerated [UTC]`
_US = re.compile(
    r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4}),? (?P<hour>\d{1,2})(?P<rest>:\d\d:\d\d(?:\.\d{1,9})?) (?P<half>[AP]M)"
)
_KIBANA = re.compile(
    r"(?P<month>[A-Z][a-z]{2}) (?P<day>\d{1,2}), (?P<year>\d{4}) @ (?P<clock>\d\d:\d\d:\d\d(?:\.\d{1,9})?)"
)


def is_one(head: bytes) -> bool:
    return _columns(head) is not None


def entries(data: bytes) -> list[Wrapped] | None:
    """The rows of a table in their order; None where the first row names no columns that we know."""
    columns = _columns(data)
    if columns is None:
        return None
    delimiter, start, names = columns
    text = data.decode("utf-8-sig", "replace").replace("\0", "")
    try:
        rows = list(csv.reader(io.StringIO(text[start:], newline=""), delimiter=delimiter))
    except csv.Error:
        return None
    rows = [row for row in rows[1:] if row]
    found = list(_rows(rows, names))
    whole = sum(len(row) == len(names) for row in rows)
    stamped = sum(each.stamp_ns is not None for each in found)
    return found if found and 2 * min(whole, stamped) >= len(rows) else None


def _columns(head: bytes) -> tuple[str, int, list[str]] | None:
    """(delimiter, where the row of names begins, the names)."""
    text = head[:_LONGEST_HEADER].decode("utf-8-sig", "replace")
    start = text.find("\n") + 1 if text[:4].lower() == "sep=" else 0  # for Excel
    first = text[start:].split("\n", 1)[0].rstrip("\r")
    if "\r" in first:
        return None
    for delimiter in _DELIMITERS:
        names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        plain = [_BRACKET.sub("", name).lower() for name in names]
        if not set(plain).isdisjoint(_TEXTS) and not set(plain).isdisjoint(_TIMES):
            return delimiter, start, names
    return None


def _rows(rows: list[list[str]], names: list[str]) -> Iterator[Wrapped]:
    plain = [_BRACKET.sub("", name).lower() for name in names]
    text = next(plain.index(name) for name in _TEXTS if name in plain)
    times = [plain.index(name) for name in _TIMES if name in plain]
    pod = next((plain.index(name) for name in _PODS if name in plain), None)
    zones = [_BRACKET.search(name) for name in names]
    utc = [bool(zone and zone["zone"] == "UTC") for zone in zones]
    for row in rows:
        if len(row) <= text:
            continue
        stamps = (_time(row[at], utc[at]) for at in times if at < len(row) and len(row[at]) >= _SHORTEST_TIME)
        ns, digits, is_local = next((each for each in stamps if each[0] is not None), _NO_TIME)
        source = f"pod/{row[pod]}" if pod is not None and pod < len(row) and row[pod] else ""
        yield Wrapped(row[text].removesuffix("\n"), ns, digits, local=is_local, source=source)


def _time(cell: str, is_utc: bool) -> tuple[int | None, int, bool]:
    """(ns since the epoch, digits of the fraction, whether it has no zone and was read as UTC) of a cell."""
    cell = cell.strip()
    if cell.isdecimal():
        return (*epoch(int(cell)), False) if len(cell) < 20 else _NO_TIME
    if us := _US.fullmatch(cell):
        hour = int(us["hour"]) % 12 + (12 if us["half"] == "PM" else 0)
        cell = f"{us['year']}-{int(us['month']):02}-{int(us['day']):02} {hour:02}{us['rest']}"
    elif kibana := _KIBANA.fullmatch(cell):
        when = find(f"{kibana['month']} {kibana['day']} {kibana['clock']}").stamp
        cell = f"{kibana['year']}-{when}{kibana['clock'][8:]}"
    found = find(cell[:_LONGEST_TIME])
    return found.ns, found.digits, found.local and not is_utc
