"""Turns vLLM's stamps (no year, no zone, whole seconds) and a collector's stamps into instants on one axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from statistics import median
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vllmperf.errors import SettingError
from vllmperf.starts.log.stamps import Stamp, stamp
from vllmperf.starts.result import NS_PER_S, Clock

DAY_S = 86_400
ZONES_S = DAY_S + DAY_S // 2  # how far zones and the rounding of a copy's date move a stamp
QUARTER_S = 900  # zones differ by whole quarters of an hour
LATE_S = 2.5  # a collector that is later than this is not nearer to the truth than the log's own second
MAX_SAMPLES = 4096
LOOK_AHEAD = 20


class Moment(NamedTuple):
    """When and where a line was printed, as far as the file tells."""

    line: int
    stamp: Stamp | None = None
    turn: int = 0  # New Years since the file began
    envelope_ns: int | None = None
    digits: int = 0
    local: bool = False  # envelope_ns is a stamp without a zone, read as UTC


@dataclass
class Envelopes:
    """Stamps that stand before lines: those with a zone, or those without."""

    first_ns: int | None = None
    digits: int = 0
    both: int = 0  # lines that have a stamp of vLLM's too
    samples: list[Moment] = field(default_factory=list)  # the first of them

    def add(self, moment: Moment) -> None:
        if self.first_ns is None:
            self.first_ns = moment.envelope_ns
        self.digits = max(self.digits, moment.digits)
        if moment.stamp is not None:
            self.both += 1
            if len(self.samples) < MAX_SAMPLES:
                self.samples.append(moment)


@dataclass
class Calendar:
    """Counts New Years while a file is read, and gathers what tells its year and zone."""

    turn: int = 0
    first: Moment | None = None
    last: Moment | None = None
    years: dict[int, int] = field(default_factory=dict)  # {year of turn 0: lines that say so}
    zoned: Envelopes = field(default_factory=Envelopes)
    local: Envelopes = field(default_factory=Envelopes)
    stamped: int = 0  # lines with a stamp of vLLM's
    _latest_s: int | None = None

    def at(
        self, line: int, when: Stamp | None, envelope_ns: int | None, digits: int, local: bool = False
    ) -> Moment:
        """The moment of the next line of the file."""
        turn = self._turn(when) if when else self.turn
        moment = Moment(line, when, turn, envelope_ns, digits, local)
        if envelope_ns is not None:
            (self.local if local else self.zoned).add(moment)
            if local and when:
                self._says_year(datetime.fromtimestamp(envelope_ns // NS_PER_S, UTC).year - turn)
        if when:
            self.stamped += 1
            self.first = self.first or moment
            self.last = moment
        return moment

    @property
    def envelopes(self) -> tuple[Envelopes | None, bool]:
        """The stamps to go by, and whether they have no zone: then most lines must bear one."""
        if self.zoned.first_ns is not None:
            return self.zoned, False
        if self.local.first_ns is not None and 2 * self.local.both >= self.stamped:
            return self.local, True
        return None, False

    def dated(self, text: str) -> None:
        """A foreign line with a whole date. It tells the year when it agrees with the vLLM line before it."""
        when = stamp(text)
        if when is None or self.last is None or self.last.stamp is None:
            return
        if (
            abs(_year_s(when) - _year_s(self.last.stamp)) < 15 * 3600
        ):  # the other clock may be in another zone
            self._says_year(int(text[:4]) - self.turn)

    def _says_year(self, year: int) -> None:
        self.years[year] = self.years.get(year, 0) + 1

    def _turn(self, when: Stamp) -> int:
        now = _year_s(when)
        latest, self._latest_s = self._latest_s, now
        if latest is None:
            return self.turn
        if now < latest - 180 * DAY_S:
            self.turn += 1
        elif now > latest + 180 * DAY_S and self.turn > 0:
            self._latest_s = latest  # a line of the old year that came late
            return self.turn - 1
        return self.turn


def seconds_between(before: Moment, after: Moment) -> int:
    """By the stamps of vLLM's own, which both have."""
    assert before.stamp is not None
    assert after.stamp is not None
    turns = after.turn - before.turn
    return _year_s(after.stamp) - _year_s(before.stamp) + turns * 366 * DAY_S


_DAYS_BEFORE = (0, 0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335)


def _year_s(when: Stamp) -> int:
    """Seconds since the year began, in a year with a 29th of February."""
    days = _DAYS_BEFORE[when.month] + when.day - 1
    return ((days * 24 + when.hour) * 60 + when.minute) * 60 + when.second


def _exists(year: int, when: Stamp) -> bool:
    try:
        datetime(year, *when)
    except ValueError:
        return False
    return True


def zone(text: str | None) -> tzinfo | None:
    """`Europe/Berlin`, `UTC`, `+02:00`, `-0530`, `+2`. UsageError when there is none such."""
    if text is None:
        return None
    if text.upper() in ("Z", "UTC", "GMT"):
        return UTC
    if text[:1] in "+-" and (offset := _offset(text)) is not None:
        return timezone(offset)
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingError(
            "{tz} {text}: no such zone; use a name such as Europe/Berlin or an offset such as +02:00.",
            text=text,
        ) from None


def _offset(text: str) -> timedelta | None:
    digits = text[1:].replace(":", "")
    if not digits.isdigit() or len(digits) > 4:
        return None
    hours, minutes = (int(digits), 0) if len(digits) <= 2 else (int(digits[:-2]), int(digits[-2:]))
    if hours > 14 or minutes > 59:
        return None
    return (1 if text[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes)


@dataclass(frozen=True)
class Resolver:
    """Gives each moment its instant."""

    clock: Clock
    year: int  # of turn 0
    zone: tzinfo
    offset_s: int | None  # local minus UTC as the envelope shows; None: use `zone`
    trusted: bool  # the envelope's stamps follow the log's
    local: bool = False  # the envelope's stamps are of `zone`

    def ns(self, moment: Moment | None, shift_s: int = 0) -> int | None:
        """ns since the epoch, or None for a moment without any stamp."""
        if moment is None:
            return None
        envelope_ns = moment.envelope_ns if moment.local == self.local else None
        if moment.stamp is not None and self.offset_s is None:
            return self._from_zone(moment, shift_s)
        if moment.stamp is not None and self.offset_s is not None:
            envelope_ns = self._from_envelope(moment, envelope_ns, self.offset_s)
        elif not self.trusted:
            return None
        return self._of_zone(envelope_ns, shift_s) if self.local and envelope_ns is not None else envelope_ns

    def clock_of(self, stamped: int, finer: int) -> Clock:
        """The clock of an attempt with so many lines that vLLM stamped, and so many of them with a part of a second
        before it. Where some have none, the second that all have is what an instant is good for."""
        if not self.local or 10 * finer >= 9 * stamped:
            return self.clock
        return replace(self.clock, resolution_s=1.0)

    def _of_zone(self, local_ns: int, shift_s: int) -> int:
        """A local time that was read as UTC."""
        if self.zone is UTC:
            return local_ns + shift_s * NS_PER_S
        local = datetime.fromtimestamp(local_ns // NS_PER_S, UTC).replace(tzinfo=self.zone)
        if shift_s and isinstance(self.zone, ZoneInfo):
            local, shift_s = local.replace(fold=1), 0
        return int(local.timestamp() + shift_s) * NS_PER_S + local_ns % NS_PER_S

    def _from_zone(self, moment: Moment, shift_s: int) -> int:
        local = self._local(moment, self.year + moment.turn)
        if shift_s and self.zone is not UTC and isinstance(self.zone, ZoneInfo):
            local, shift_s = local.replace(fold=1), 0
        return int(local.replace(tzinfo=self.zone).timestamp() + shift_s) * NS_PER_S

    def _from_envelope(self, moment: Moment, envelope_ns: int | None, offset_s: int) -> int:
        if envelope_ns is None:
            local = self._local(moment, self.year + moment.turn)
            return (int(local.replace(tzinfo=UTC).timestamp()) - offset_s) * NS_PER_S
        naive_s = nearest_s(moment.stamp, envelope_ns)
        difference = naive_s - envelope_ns / NS_PER_S
        own = round(difference / QUARTER_S) * QUARTER_S  # the clock may change in the middle of a file
        offset_s = own if abs(difference - own) < 60 else offset_s
        late_s = -(difference - offset_s)
        if moment.digits and -1 < late_s <= LATE_S:
            return envelope_ns
        return (naive_s - offset_s) * NS_PER_S

    @staticmethod
    def _local(moment: Moment, year: int) -> datetime:
        assert moment.stamp is not None
        while not _exists(year, moment.stamp):
            year -= 1
        return datetime(year, *moment.stamp)


def nearest_s(when: Stamp | None, near_ns: int) -> int:
    """Seconds since the epoch of a stamp read as UTC, in the year that brings it nearest to an instant."""
    assert when is not None
    year = datetime.fromtimestamp(near_ns // NS_PER_S, UTC).year
    found = [
        int(datetime(y, *when, tzinfo=UTC).timestamp())
        for y in (year - 1, year, year + 1)
        if _exists(y, when)
    ]
    found = found or [int(datetime(year, when.month, 28, *when[2:], tzinfo=UTC).timestamp())]
    return min(found, key=lambda s: abs(s - near_ns // NS_PER_S))


def resolver(
    calendar: Calendar, year: int | None, tz: str | None, date_ns: int | None, date_from: str
) -> Resolver:
    """Decides on year and zone: the envelope first, then the arguments, then dates in the log, then the file's date.

    date_ns: the latest instant that the log may have ended at (the file's date, or now), named by `date_from`.
    """
    given = zone(tz)
    envelopes, local = calendar.envelopes
    offset_s, trusted = _envelope_zone(envelopes.samples) if envelopes else (None, False)
    trusted = envelopes is not None and (trusted or not envelopes.samples)
    first_year, year_from = _year(calendar, envelopes, trusted, year, date_ns, date_from)
    digits = envelopes.digits if envelopes and trusted else 0
    told = not local and (offset_s is not None or (trusted and not (envelopes and envelopes.samples)))
    known = calendar.first or envelopes
    clock = Clock(
        source="envelope" if trusted else "log",
        resolution_s=10.0 ** -min(digits, 3) if digits else 1.0,
        utc=told or given is not None,
        year=first_year if known else None,
        year_from=year_from if known else None,
        zone=_zone_name(offset_s) if offset_s is not None and not local else (tz or "UTC"),
    )
    return Resolver(clock, first_year, given or UTC, offset_s, trusted, local)


def _envelope_zone(samples: Sequence[Moment]) -> tuple[int | None, bool]:
    """Local minus UTC, and whether the envelope's stamps follow the log's own at all."""
    differences = [
        nearest_s(m.stamp, m.envelope_ns) - m.envelope_ns / NS_PER_S
        for m in samples
        if m.envelope_ns is not None
    ]
    if not differences:
        return None, False
    offset = round(median(differences) / QUARTER_S) * QUARTER_S
    near = [abs(d - round(d / QUARTER_S) * QUARTER_S) < 60 for d in differences]
    whole_zone = abs(offset) <= 14 * 3600
    if whole_zone and sum(near) * 2 >= len(near):
        return offset, True
    return None, False


def _year(
    calendar: Calendar,
    envelopes: Envelopes | None,
    trusted: bool,
    year: int | None,
    date_ns: int | None,
    date_from: str,
) -> tuple[int, str]:
    """The year of turn 0 and what tells it. An envelope that does not follow the log is asked after the argument."""
    if trusted and envelopes is not None:
        return _envelope_year(envelopes), "envelope"
    if year is not None:
        return year, "argument"
    if calendar.years:
        return max(calendar.years, key=lambda y: calendar.years[y]), "log"
    if envelopes is not None:
        return _envelope_year(envelopes), "envelope"
    return _latest_year(calendar, date_ns), date_from


def _envelope_year(envelopes: Envelopes) -> int:
    """The year nearest to the envelope's stamp, but not after it: a line is printed before it is collected."""
    near_ns = envelopes.first_ns or 0
    if not envelopes.samples:
        return datetime.fromtimestamp(near_ns // NS_PER_S, UTC).year
    first = envelopes.samples[0]
    near_ns = first.envelope_ns or near_ns
    naive = nearest_s(first.stamp, near_ns)
    is_after = naive - near_ns // NS_PER_S > ZONES_S
    return datetime.fromtimestamp(naive, UTC).year - first.turn - is_after


def _latest_year(calendar: Calendar, date_ns: int | None) -> int:
    """The last year in which the log's last stamp is not after the date."""
    date_s = (date_ns or 0) // NS_PER_S + ZONES_S
    limit = datetime.fromtimestamp(date_s, UTC)
    last = calendar.last
    if last is None or last.stamp is None:
        return limit.year
    year = limit.year
    while not _exists(year, last.stamp) or datetime(year, *last.stamp, tzinfo=UTC) > limit:
        year -= 1
    return year - last.turn


def _zone_name(offset_s: int) -> str:
    if offset_s == 0:
        return "UTC"
    sign = "+" if offset_s > 0 else "-"
    return f"{sign}{abs(offset_s) // 3600:02}:{abs(offset_s) % 3600 // 60:02}"


def clock_changes(moments: Iterable[Moment]) -> dict[int, int]:
    """{line: seconds to add from here on}: where the log's clock went back an hour for good (end of summer time).

    An hour back that is soon made up for was a process that printed late, or one with another zone.
    """
    stamped = [m for m in moments if m.stamp is not None and (m.envelope_ns is None or m.local)]
    out: dict[int, int] = {}
    top: int | None = None
    for place, moment in enumerate(stamped):
        assert moment.stamp is not None
        now = _year_s(moment.stamp) + moment.turn * 366 * DAY_S
        if (
            top is not None
            and 3300 <= top - now <= 3600
            and _stays_back(stamped[place : place + LOOK_AHEAD], top)
        ):
            out[moment.line] = 3600
            top = now
        else:
            top = now if top is None else max(top, now)
    return out


def _stays_back(following: Sequence[Moment], top: int) -> bool:
    """Whether the next moments climb again from an hour earlier, step by step."""
    before = top - 3600
    for moment in following:
        assert moment.stamp is not None
        now = _year_s(moment.stamp) + moment.turn * 366 * DAY_S
        if now > before + 1800:
            return False
        before = max(before, now)
    return len(following) >= 2
