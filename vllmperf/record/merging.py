"""Run files of one plan, such as those of its shards on several machines, become one run file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import vllmperf._engine as _engine
from vllmperf.errors import UsageError
from vllmperf.record import schema, shares
from vllmperf.record.fields import ASKED, BLOBS, FIELDS, INSTANTS
from vllmperf.record.gap_sample import PLACES, SQL_PLACE, WITHOUT_GAPS
from vllmperf.record.reader import Header, header
from vllmperf.record.writer import create, iso_utc, put_meta

OF_EACH = frozenset({"request_id_prefix"})
"""Fields of a plan that each of its runs has for itself."""
SUMMED = ("sent", "in_flight", "done", "completed", "chunks", "connections_opened", "silent_retries", "coalesced", "lost",
          "cpu_s", "threads", "multis")  # fmt: skip


def merge(paths: Sequence[Path | str], out: Path | str) -> Path:
    """Write one run file `out` with the requests of all these files, and give its path.

    Times count from the earliest start; the machines' clocks say how far the others are behind it. Requests keep their
    numbers; where two files have the same ones, those of the later file are counted on. Histograms and counters are added
    up. The run is as finished as the least finished of its parts; meta.parts names them.

    Raises UsageError for fewer than two files, for what is no run file, for files of different plans, and when `out` exists.
    """
    if len(paths) < 2:
        raise UsageError(f"merge needs at least two run files (got {len(paths)})")
    headers = [header(path) for path in paths]
    _check_alike(headers)
    out = Path(out)
    db = create(out)
    try:
        for statement in schema.create_statements():
            db.execute(statement)
        _fill(db, headers)
    except (sqlite3.Error, UsageError) as error:
        db.close()
        out.unlink()
        raise UsageError(f"cannot merge into {out}: {error}") from error
    db.close()
    return out


# ---- what may be merged ----


def _check_alike(headers: Sequence[Header]) -> None:
    first = headers[0]
    shares.check(headers)
    for other in headers:
        if other.state == "running":
            raise UsageError(f"{other.path} is still being written: merge it when its run is over")
        if _keeps_none(first) != _keeps_none(other):
            raise UsageError(
                f"{first.path} and {other.path}: one of them keeps no gaps (--keep-gaps none); merge takes runs that "
                "all do, or none of them"
            )
        for what in ("plan", "profile"):
            a, b = (
                shares.comparable(one.meta) if what == "plan" else one.meta.get(what)
                for one in (first, other)
            )
            if difference := next(_differences(a, b), None):
                name, one, two = difference
                raise UsageError(
                    f"{first.path} and {other.path} are of different {what}s: "
                    f"{name or what} is {one!r} and {two!r}; merge takes runs of one {what}"
                )


def _keeps_none(one: Header) -> bool:
    return (one.meta.get("gaps") or {}).get("keep") == "none"


def _differences(a: object, b: object, name: str = "") -> Iterator[tuple[str, object, object]]:
    """Where two JSON values differ: the path of keys and both values."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            if key not in OF_EACH:
                yield from _differences(a.get(key), b.get(key), f"{name}.{key}" if name else str(key))
    elif a != b:
        yield name, a, b


# ---- copying ----


class _Part(NamedTuple):
    """One file: how far its requests' numbers, its sessions and its instants are moved. gap_places: requests whose place
    (gap_sample.py) is below keep their gaps."""

    header: Header
    number: int
    shift_ns: int
    gap_places: int
    session: int


def _fill(db: sqlite3.Connection, headers: Sequence[Header]) -> None:
    starts = [_start_real_ns(one) for one in headers]
    known = [start for start in starts if start]
    shifts = [start - min(known) if start else 0 for start in starts]
    db.execute("BEGIN IMMEDIATE")
    parts = []
    for one, shift in zip(headers, shifts, strict=True):
        number, places = _next_number(db, one), PLACES >> _gaps(headers)["halvings"]
        parts.append(_Part(one, number, shift, places, _next_session(db) if number else 0))
        _copy_requests(db, parts[-1])
    _put_histograms(db, headers)
    _put_meta(db, parts, min(known, default=0))
    db.execute("COMMIT")


def _start_real_ns(one: Header) -> int:
    return int((one.meta.get("counters") or {}).get("start_real_ns") or 0)


def _next_number(db: sqlite3.Connection, one: Header) -> int:
    """0 where the file's numbers are free, else what they have to be counted on from."""
    there = {number for (number,) in db.execute('SELECT "index" FROM requests')}
    with one.opened() as source:
        taken = any(number in there for (number,) in source.execute('SELECT "index" FROM requests'))
    return max(there) + 1 if taken else 0


def _next_session(db: sqlite3.Connection) -> int:
    (last,) = db.execute("SELECT max(session) FROM requests").fetchone()
    return 0 if last is None else int(last) + 1


def _gaps(headers: Sequence[Header]) -> dict[str, Any]:
    """Of which requests the merged file keeps gaps: as few as the part that keeps fewest."""
    kept = [one.meta.get("gaps") or {"keep": "all", "halvings": 0} for one in headers]
    halvings = max(each["halvings"] for each in kept)
    keeps = {each["keep"] for each in kept}
    return {"keep": keeps.pop() if len(keeps) == 1 else "sample", "halvings": halvings}


def _copy_requests(db: sqlite3.Connection, part: _Part) -> None:
    with part.header.opened() as source:
        there = {name for (name,) in source.execute("SELECT name FROM pragma_table_info('requests')")}
        names = [field.name for field in (*FIELDS, *ASKED, *BLOBS)]
        source.create_function(
            "shifted", 1, lambda stamps: _shifted(stamps, part.shift_ns), deterministic=True
        )
        columns = ", ".join(_moved(name, part) if name in there else "NULL" for name in names)
        rows = source.execute(f'SELECT {columns} FROM requests ORDER BY "index"')
        db.executemany(schema.insert_statement(), rows)


def _moved(name: str, part: _Part) -> str:
    if name == "index":
        return f'"index" + {part.number}'
    if name == "session":
        return f"session + {part.session}"
    if name in INSTANTS:
        return f"{name} + {part.shift_ns}"
    if name in WITHOUT_GAPS and part.gap_places < PLACES:
        return f"CASE WHEN {SQL_PLACE} < {part.gap_places} THEN {name} ELSE {WITHOUT_GAPS[name]} END"
    return f"shifted({name})" if name == "stamps" else schema.quoted(name)


def _shifted(stamps: bytes | None, shift_ns: int) -> bytes | None:
    return None if stamps is None else (np.frombuffer(stamps, dtype="<i8") + shift_ns).astype("<i8").tobytes()


def _put_histograms(db: sqlite3.Connection, headers: Sequence[Header]) -> None:
    found: dict[str, _engine.Histogram] = {}
    for one in headers:
        for name, histogram in one.histograms.items():
            if "." not in name:  # thread 1 of one machine is not thread 1 of another
                found.setdefault(name, _engine.Histogram()).merge(histogram)
    rows = [(name, histogram.pack()) for name, histogram in found.items()]
    db.executemany("INSERT INTO histograms VALUES(?, ?)", rows)


def _put_meta(db: sqlite3.Connection, parts: Sequence[_Part], start_real_ns: int) -> None:
    metas = [part.header.meta for part in parts]
    finished = [meta["finished_at"] for meta in metas if meta.get("finished_at")]
    values = {
        **metas[0],
        "schema": schema.SCHEMA_VERSION,
        **_plan(parts),
        "counters": _counters(metas, start_real_ns),
        "state": _state([part.header.state for part in parts]),
        "writer": {},
        "gaps": _gaps([part.header for part in parts]),
        "parts": [_part(part) for part in parts],
    }
    if start_real_ns:
        values["started_at"] = iso_utc(start_real_ns)
    if finished:
        values["finished_at"] = max(finished)
    put_meta(db, values)


def _plan(parts: Sequence[_Part]) -> dict[str, Any]:
    """The plan and the facts of all; where the parts are whole runs of it, with the requests of all of them."""
    metas = [part.header.meta for part in parts]
    if all(map(shares.share, metas)):
        return shares.whole(metas)
    meta, times = metas[0], len(parts) if any(part.number for part in parts) else 1
    plan, facts = _of_all(meta.get("plan") or {}, times), _of_all(meta.get("facts") or {}, times)
    return {
        "plan": {**plan, "load": _of_all(plan["load"], times)} if "load" in plan else plan,
        "facts": facts,
    }


def _of_all(settings: Mapping[str, Any], times: int) -> dict[str, Any]:
    n, asked = settings.get("num_prompts"), (settings.get("sessions") or {}).get("asked")
    found = dict(settings)
    if isinstance(n, int):
        found["num_prompts"] = n * times
    if isinstance(asked, int):
        found["sessions"] = {"asked": asked * times}
    return found


def _state(states: Sequence[str]) -> str:
    """What a reader makes a killed run of is "running" without a writer."""
    return "running" if "killed" in states else "interrupted" if "interrupted" in states else "finished"


def _counters(metas: Sequence[Mapping[str, Any]], start_real_ns: int) -> dict[str, Any]:
    counters = [meta.get("counters") or {} for meta in metas]
    summed = {name: sum(one.get(name) or 0 for one in counters) for name in SUMMED}
    given_up = next((one for one in counters if one.get("gave_up")), {})
    why = {name: given_up.get(name) for name in ("gave_up", "write_error", "unwritten")}
    server = None if any(map(_fell, metas)) else shares.pages(metas, _first_and_last)
    return {**summed, **why, "server": server, "state": "ended", "start_real_ns": start_real_ns}


def _first_and_last(pages: Sequence[Any]) -> dict[str, dict[str, float]]:
    """What one server had counted before the first part and after the last one: counters only rise."""
    return {"before": _each(min, pages, "before"), "after": _each(max, pages, "after")}


def _fell(meta: Mapping[str, Any]) -> bool:
    """The server's counters did: it was started anew."""
    page = (meta.get("counters") or {}).get("server") or {"before": {}, "after": {}}
    return any(page["after"].get(name, 0) < value for name, value in page["before"].items())


def _each(chosen: Callable[[list[float]], float], pages: Sequence[Any], when: str) -> dict[str, float]:
    names = dict.fromkeys(name for page in pages for name in page[when])
    return {name: chosen([page[when].get(name, 0.0) for page in pages]) for name in names}


def _part(part: _Part) -> dict[str, Any]:
    meta = part.header.meta
    return {
        "file": part.header.path.name,
        "started_at": meta.get("started_at"),
        "state": part.header.state,
        "environment": meta.get("environment"),
        "first_number": part.number,
        "shift_ns": part.shift_ns,
    }
