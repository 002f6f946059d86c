"""Pages of metrics in a run file: a table that only runs have whose server was watched. Each page is deflated text."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable
from pathlib import Path

from vllmperf.errors import VllmperfError
from vllmperf.record.reader import header

TABLE = "scrapes(at_ns INTEGER, source TEXT, brief INTEGER, page BLOB)"
Scrape = tuple[int, str, str, bool]
"""Ns since 1970, URL, the lines that count, whether they are the brief ones."""


def add_scrapes(path: Path, scrapes: Iterable[Scrape]) -> None:
    """Put them into a finished run file. Raises VllmperfError when it cannot be written."""
    rows = [(at, source, is_brief, zlib.compress(page.encode())) for at, source, page, is_brief in scrapes]
    try:
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute(f"CREATE TABLE IF NOT EXISTS {TABLE}")
            db.executemany("INSERT INTO scrapes VALUES (?, ?, ?, ?)", rows)
    except sqlite3.Error as error:
        raise VllmperfError(f"{path} cannot be written: {error}") from None


def read_scrapes(path: Path) -> list[Scrape]:
    """In the order of time; [] where the server was not watched."""
    with header(path).opened() as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'scrapes'").fetchall():
            return []
        rows = db.execute("SELECT at_ns, source, page, brief FROM scrapes ORDER BY at_ns").fetchall()
    return [(at, source, zlib.decompress(page).decode(), bool(brief)) for at, source, page, brief in rows]
