"""Reads dates and times however a logger or a collector wrote them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

NS_PER_S = 1_000_000_000
LATEST_S = 8_000_000_000  # no log is of a later instant than the year 2223
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class Stamp(NamedTuple):
    month: int
    day: int
    hour: int
    minute: int
    second: int

    def __str__(self) -> str:
        return f"{self.month:02}-{self.day:02} {self.hour:02}:{self.minute:02}:{self.second:02}"


class Found(NamedTuple):
    """A stamp that stands somewhere in a text. Each part is None (0) where the text does not say it."""

    stamp: Stamp | None = None  # as printed
    ns: int | None = None  # since the epoch
    digits: int = 0  # of the fraction of a second
    local: bool = False  # it has no zone: `ns` reads it as UTC


_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
_ZONE = r"(?: ?(?P<zone>Z\b|UTC\b|GMT\b|[+-]\d\d:?\d\d\b))?"
_FORMS = (
    re.compile(rf"(?<!\d)(?P<year>\d{{4}})[-/.](?P<month>\d\d)[-/.](?P<day>\d\d)[T _]{_CLOCK}{_ZONE}"),
    re.compile(rf"(?<!\d)(?P<day>\d\d)[-.](?P<month>\d\d)[-.](?P<year>\d{{4}})[T _,]{{1,2}}{_CLOCK}{_ZONE}"),
    re.compile(rf"(?<!\d)(?P<month>\d\d)/(?P<day>\d\d)/(?P<year>\d{{4}}|\d\d)[T _,]{{1,2}}{_CLOCK}{_ZONE}"),
    re.compile(
        rf"(?<!\d)(?P<day>\d\d)[/ -](?P<name>[A-Z][a-z]{{2}})[/ -](?P<year>\d{{4}})[T :_,]{{1,2}}{_CLOCK}{_ZONE}"
    ),
    re.compile(rf"(?<![\d-])(?P<month>\d\d)[-/](?P<day>\d\d)[T _]{_CLOCK}(?P<year>)(?P<zone>)"),
    re.compile(rf"(?<!\w)(?:[IWEFD]|(?P<year>\d{{4}}))(?P<month>\d\d)(?P<day>\d\d)[ T]{_CLOCK}{_ZONE}"),
    re.compile(rf"(?<!\w)(?P<name>[A-Z][a-z]{{2}}) +(?P<day>\d\d?) (?:(?P<year>\d{{4}}) )?{_CLOCK}{_ZONE}"),
)
_EPOCH = re.compile(r"(?<![\w.])(?:(?P<s>1\d{9})(?:\.(?P<fraction>\d{1,9}))?|(?P<ms>1\d{12}))(?![\w.])")
_STAMP = re.compile(r"(?:\d{4}[-/])?(\d\d)[-/](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_UNIX = re.compile(r"\d{9,11}(?:\.\d{1,30})?")
_INSTANT = re.compile(
    r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,30}))?(?: ?(Z|UTC|[+-]\d\d:?\d\d))?"
)
_ZONED = re.compile(r"(?:Z|UTC|[+-]\d\d:?\d\d)$")


@lru_cache(maxsize=4096)
def stamp(text: str) -> Stamp | None:
    """`MM-DD HH:MM:SS` at the text's beginning, with or without a year before it; None when it is no date."""
    found = _STAMP.match(text)
    return _valid(*map(int, found.groups())) if found else None


def instant(text: str) -> tuple[int | None, int]:
    """RFC 3339, or seconds since the epoch: (ns since the epoch, digits of the fraction). (None, 0) when neither.

    A date without a zone is read as UTC."""
    text = text.strip()
    if _UNIX.fullmatch(text):
        whole, _, fraction = text.partition(".")
        if int(whole) >= LATEST_S:
            return None, 0
        return int(whole) * NS_PER_S + _fraction_ns(fraction), min(len(fraction), 9)
    found = _INSTANT.fullmatch(text)
    if not found:
        return None, 0
    year, month, day, clock, fraction, zone = found.groups()
    seconds = _seconds(f"{year}-{month}-{day}T{clock}{'+00:00' if zone in (None, 'Z', 'UTC') else zone}")
    if seconds is None:
        return None, 0
    return seconds * NS_PER_S + _fraction_ns(fraction or ""), min(len(fraction or ""), 9)


def of_ns(local_ns: int) -> Stamp:
    """The stamp that was read as UTC."""
    when = datetime.fromtimestamp(local_ns // NS_PER_S, UTC)
    return Stamp(when.month, when.day, when.hour, when.minute, when.second)


def has_zone(text: str) -> bool:
    """Whether a stamp with a date says its zone."""
    return _UNIX.fullmatch(text) is not None or _ZONED.search(text[-6:]) is not None


def find(text: str) -> Found:
    """The first stamp within a text of at most a few hundred characters."""
    for form in _FORMS:
        if found := form.search(text):
            return _found(found)
    if epoch := _EPOCH.search(text):
        if epoch["ms"]:
            return Found(None, int(epoch["ms"]) * 1_000_000, 3)
        fraction = epoch["fraction"] or ""
        return Found(None, int(epoch["s"]) * NS_PER_S + _fraction_ns(fraction), len(fraction))
    return Found()


def _found(found: re.Match[str]) -> Found:
    part = found.groupdict()
    name = str(part.get("name") or "").lower()
    month = _MONTHS.index(name) + 1 if name in _MONTHS else int(part.get("month") or 0)
    day, clock = int(part["day"]), (int(part[name]) for name in ("hour", "minute", "second"))
    if month > 12 >= day:  # the other order
        month, day = day, month
    when = _valid(month, day, *clock)
    year = int(part["year"]) if part.get("year") else None
    if when is None or year is None:
        return Found(when)
    zone = part.get("zone") or ""
    offset = zone if zone[:1] in ("+", "-") else "+00:00"
    date = f"{year + 2000 if year < 100 else year:04}-{when.month:02}-{when.day:02}"
    seconds = _seconds(f"{date}T{when.hour:02}:{when.minute:02}:{when.second:02}{offset}")
    if seconds is None:
        return Found(when)
    fraction = part["fraction"] or ""
    return Found(when, seconds * NS_PER_S + _fraction_ns(fraction), len(fraction), local=not zone)


def _valid(month: int, day: int, hour: int, minute: int, second: int) -> Stamp | None:
    valid = 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61
    return Stamp(month, day, hour, minute, min(second, 59)) if valid else None


def _seconds(text: str) -> int | None:
    try:
        found = int(datetime.fromisoformat(text).astimezone(UTC).timestamp())
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found < LATEST_S else None


def _fraction_ns(digits: str) -> int:
    return int((digits + "0" * 9)[:9])
