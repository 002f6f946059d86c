"""The layout of the run file, an SQLite database.

`meta` holds one JSON value a key: schema, tool, plan, facts, environment, started_at, state, counters. `requests`
holds one row a finished request, written as they finish. `histograms` holds packed histograms of the engine
by name. `samples` holds what was sampled beside the run."""

import sqlite3

from vllmperf.record.fields import ASKED, BLOBS, FIELDS
from vllmperf.record.samples import CREATE

# History of the run file. A reader refuses a newer number than its own and reads every older one.
#   1  first version
#   2  usage_tokens, output_bytes, first_chunk_bytes, unknown_output, reads, first_read_chunks, body_kind; outcome
#      local_fault; asked_prompt_tokens, asked_output_tokens
#   3  meta.plan is the JSON of a plan (Plan.from_dict); beside it meta.facts: notes, knobs, and what was settled for the
#      run, by name. Before, meta.plan was all of it by name, with _s behind durations
#   4  server_queue_ns, server_prefill_ns, server_decode_ns, draft_steps, draft_tokens, accepted_tokens
#   5  meta.gaps: of which requests the gaps are kept; n_gaps is 0 where they are not
#   6  session, turn, session_turns
#   7  the table samples (record/samples.py)
SCHEMA_VERSION = 7

APPLICATION_ID = 0x76706572  # "vper": lets `file` and the reader tell a run file from any other database

ENUM_COLUMNS = {
    "outcome": "OUTCOMES",
    "finish_reason": "FINISH_REASONS",
    "tokens_source": "TOKENS_SOURCES",
    "body_kind": "BODY_KINDS",
}
"""Columns that hold a name, and the engine's table with these names."""

NOT_IN_ALL = frozenset(
    {
        *("usage_tokens", "output_bytes", "first_chunk_bytes", "unknown_output", "reads", "body_kind"),
        *("first_read_chunks", "asked_prompt_tokens", "asked_output_tokens"),
        *("server_queue_ns", "server_prefill_ns", "server_decode_ns"),
        *("draft_steps", "draft_tokens", "accepted_tokens"),
        *("session", "turn", "session_turns"),
    }
)
"""Columns that older files lack: those of version 1 the first two lines, all before version 4 the next two, all before
version 6 the last."""

STATES = ("running", "finished", "interrupted")
"""What `meta.state` may say. "running" in a file whose writer is gone means that the run was killed."""


def quoted(name: str) -> str:
    return f'"{name}"'  # "index" is a word of SQL


def _column(name: str) -> str:
    if name == "index":
        return '"index" INTEGER PRIMARY KEY'
    return f"{quoted(name)} {'TEXT' if name in ENUM_COLUMNS else 'INTEGER'}"


def create_statements() -> list[str]:
    """SQL that makes the tables of an empty run file."""
    blobs = [f"{field.name} {'TEXT' if field.name in ('text', 'error') else 'BLOB'}" for field in BLOBS]
    columns = ", ".join([_column(field.name) for field in (*FIELDS, *ASKED)] + blobs)
    return [
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT)",
        f"CREATE TABLE requests({columns})",
        "CREATE TABLE histograms(name TEXT PRIMARY KEY, data BLOB)",
        CREATE,
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {SCHEMA_VERSION}",
    ]


RESERVE_BYTES = 16 << 10
"""Of a file that is being written, so that what ended a run can be said when the disk is full."""
FREE_RESERVE = "DROP TABLE IF EXISTS reserve"


def reserve_statements() -> list[str]:
    """SQL that keeps room in the file; FREE_RESERVE gives it back."""
    return [
        "CREATE TABLE reserve(data BLOB)",
        f"INSERT INTO reserve VALUES(zeroblob({RESERVE_BYTES}))",
    ]


def add_columns(db: sqlite3.Connection) -> None:
    """Give an older run file the columns that it lacks, so that it can be gone on with."""
    there = {name for (name,) in db.execute("SELECT name FROM pragma_table_info('requests')")}
    for name in sorted(NOT_IN_ALL - there):
        db.execute(f"ALTER TABLE requests ADD COLUMN {_column(name)}")
    db.execute(CREATE)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def insert_statement() -> str:
    """SQL that adds one request: the fields, what was asked, the blobs, in the order of fields.py."""
    names = [field.name for field in (*FIELDS, *ASKED, *BLOBS)]
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO requests({', '.join(map(quoted, names))}) VALUES({marks})"
