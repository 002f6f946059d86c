"""What is written to a run file comes back out of it, whatever happened to the writer."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import MS, NONE, PLAN, START_REAL_NS, Request, batch, failed, histogram, steady, write_run

from vllmperf import _engine
from vllmperf.errors import UsageError, VllmperfError
from vllmperf.record import schema
from vllmperf.record.fields import BLOBS, FIELDS
from vllmperf.record.process import is_alive
from vllmperf.record.reader import read
from vllmperf.record.resumed import ResumedWriter
from vllmperf.record.unfinished import unfinished
from vllmperf.record.writer import RunWriter


def sql(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement on a run file behind the back of the reader."""
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(statement).fetchall()


def test_the_field_table_names_exactly_the_fields_of_the_record() -> None:
    assert [field.name for field in FIELDS] == list(np.dtype(_engine.RECORD_DTYPE).names or ())
    assert all(field.meaning for field in (*FIELDS, *BLOBS))


def test_every_field_survives_the_round_trip(tmp_path: Path) -> None:
    request = Request(7)
    numbers = request.record() | {
        "cached_tokens": 3,
        "retries": 1,
        "thread": 2,
        "slot_wait_ns": 5,
        "first_byte_ns": NONE,
    }
    request.fields = numbers
    (row,) = read(write_run(tmp_path / "a.run", [request])).requests
    assert {name: int(row[name]) for name in numbers} == numbers


def test_requests_come_back_sorted_by_number_with_their_own_gaps(tmp_path: Path) -> None:
    requests = [Request(2, gaps=[5.0]), Request(0, gaps=[1.0, 2.0]), Request(1, gaps=[])]
    recording = read(write_run(tmp_path / "a.run", requests))
    assert recording.requests["index"].tolist() == [0, 1, 2]
    assert recording.gap_request.tolist() == [0, 2, 2, 3]
    assert (recording.gaps_ns / MS).tolist() == [1.0, 2.0, 5.0]


def test_a_batch_that_is_written_in_parts_is_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [
        Request(
            i,
            gaps=[float(g + i) for g in range(i % 3)],
            text=f"text {i}" * (i % 2),
            error=f"error {i}" * (i % 4 == 1),
            stamps=[(100 * i + n, 100 * i + n + 1) for n in range(i % 3)],
        )
        for i in range(8)
    ]
    whole = write_run(tmp_path / "whole.run", requests)
    monkeypatch.setattr("vllmperf.record.writer.AT_ONCE", 3)
    parts = write_run(tmp_path / "parts.run", requests)
    assert sql(parts, "SELECT * FROM requests") == sql(whole, "SELECT * FROM requests")
    assert len(sql(parts, "SELECT * FROM requests")) == 8


def test_token_counts_of_gaps_are_kept_apart_from_unknown_ones(tmp_path: Path) -> None:
    requests = [
        Request(0, gaps=[1.0, 1.0], tokens=[0, 0]),
        Request(1, gaps=[1.0, 1.0], tokens=[1, 1]),
        Request(2, gaps=[1.0, 1.0], tokens=[3, 0]),
    ]
    recording = read(write_run(tmp_path / "a.run", requests))
    assert recording.gap_tokens.tolist() == [0, 0, 1, 1, 3, 0]


def test_equal_token_counts_take_one_value_in_the_file(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [Request(0, gaps=[1.0] * 50, tokens=[1] * 50)])
    assert sql(path, "SELECT length(gap_tokens), length(gaps) FROM requests") == [(2, 200)]


def test_shared_gaps_are_marked(tmp_path: Path) -> None:
    requests = [Request(0, gaps=[1.0]), Request(1, gaps=[5.0, 5.0, 1.0], shared=[1, 1, 0])]
    recording = read(write_run(tmp_path / "a.run", requests))
    assert recording.gap_shared.tolist() == [False, True, True, False]


def test_stamps_come_back_as_pairs(tmp_path: Path) -> None:
    requests = [Request(0, stamps=[(1, 2), (3, 4)]), Request(1), Request(2, stamps=[(5, 6)])]
    recording = read(write_run(tmp_path / "a.run", requests))
    assert recording.stamps.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert recording.stamp_request.tolist() == [0, 2, 2, 3]


def test_texts_and_errors_are_cut_where_they_belong(tmp_path: Path) -> None:
    requests = [
        Request(0, text="häl\0lo"),
        failed(1, "http_error", "too läte"),
        Request(2, text="x", error="y"),
    ]
    recording = read(write_run(tmp_path / "a.run", requests))
    assert recording.texts == ["häl\0lo", None, "x"]
    assert recording.errors == [None, "too läte", "y"]


def test_broken_utf8_does_not_stop_the_run(tmp_path: Path) -> None:
    made = batch([Request(0, text="abcd")])
    made["bytes"] = b"ab\xff\xfe"
    with RunWriter(tmp_path / "a.run", PLAN, {}) as writer:
        writer.append(made)
    assert read(tmp_path / "a.run").texts == ["ab��"]


def test_texts_can_be_left_in_the_file(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [Request(0, text="long")])
    assert list(read(path, texts=False).texts) == [None]


def test_names_are_stored_as_names(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [Request(0), failed(1, "stalled", "")])
    rows = sql(path, 'SELECT outcome, finish_reason, tokens_source FROM requests ORDER BY "index"')
    assert rows == [("completed", "length", "usage"), ("stalled", "none", "none")]


def test_what_did_not_happen_is_null_in_the_file(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [Request(0)])
    assert sql(path, "SELECT scheduled_ns, connected_ns, slot_wait_ns FROM requests") == [(None, None, 0)]


def test_the_file_says_what_was_run_when_and_by_what(tmp_path: Path) -> None:
    recording = read(
        write_run(tmp_path / "a.run", [Request(0)], plan={"rate": float("inf"), "path": Path("x")})
    )
    assert recording.plan == PLAN | {"rate": "inf", "path": "x"}
    assert recording.environment == {"cpu": "test"}
    assert recording.meta["started_at"] == "2026-11-24T10:00:00.000Z"
    assert recording.meta["tool"]["name"] == "vllmperf"
    assert recording.meta["schema"] == schema.SCHEMA_VERSION
    assert recording.state == "finished"
    assert recording.counters["connections_opened"] == 2


def test_the_engines_start_is_the_start(tmp_path: Path) -> None:
    path = write_run(
        tmp_path / "a.run", [Request(0)], counters={"start_real_ns": START_REAL_NS + 1_500_000_000}
    )
    assert read(path).meta["started_at"] == "2026-11-24T10:00:01.500Z"


def test_histograms_come_back(tmp_path: Path) -> None:
    recording = read(write_run(tmp_path / "a.run", [Request(0)], histograms={"loop": histogram(1, 3)}))
    assert recording.histograms["loop"].count == 2
    assert recording.histograms["loop"].max == 3 * MS


def test_the_last_checkpoint_counts(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "a.run", PLAN, {}) as writer:
        writer.checkpoint({"sent": 1}, {"loop": histogram(1)})
        writer.checkpoint({"sent": 2}, {"loop": histogram(1, 2)})
    recording = read(tmp_path / "a.run")
    assert recording.counters == {"sent": 2}
    assert recording.histograms["loop"].count == 2


def test_an_empty_run_can_be_read(tmp_path: Path) -> None:
    recording = read(write_run(tmp_path / "a.run", []))
    assert len(recording.requests) == len(recording.gaps_ns) == 0
    assert recording.gap_request.tolist() == [0]


def test_a_request_number_cannot_be_recorded_twice(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "a.run", PLAN, {}) as writer:
        writer.append(batch([Request(0)]))
        with pytest.raises(VllmperfError, match="cannot write the run file"):
            writer.append(batch([Request(1), Request(0)]))
        writer.append(batch([Request(2)]))
    assert read(tmp_path / "a.run").requests["index"].tolist() == [
        0,
        2,
    ]  # the failed batch left nothing behind


def test_a_state_must_be_a_known_one(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "a.run", PLAN, {}) as writer, pytest.raises(ValueError, match="done"):
        writer.finish("done", {}, {})


def test_a_failing_program_leaves_an_interrupted_run(tmp_path: Path) -> None:
    def fail() -> None:
        with RunWriter(tmp_path / "a.run", PLAN, {}) as writer:
            writer.append(batch([Request(0)]))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert read(tmp_path / "a.run").state == "interrupted"


def test_a_run_that_goes_on_can_be_read(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "a.run", PLAN, {}) as writer:
        writer.append(batch([Request(0)]))
        recording = read(tmp_path / "a.run")
        assert recording.state == "running"
        assert len(recording.requests) == 1
        writer.append(batch([Request(1)]))
        assert len(read(tmp_path / "a.run").requests) == 2


# ---- secrets ----


def test_a_secret_that_a_server_echoes_is_struck_out(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "a.run", PLAN, {}, secrets=["sk-very-secret", ""])
    writer.append(batch([failed(0, "http_error", "bad key sk-very-secret!", status=401)]))
    writer.finish("finished", {}, {})
    assert read(tmp_path / "a.run").errors == ["bad key ***!"]
    assert b"sk-very-secret" not in (tmp_path / "a.run").read_bytes()


# ---- killed ----

CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
from synthetic import PLAN, Request, batch, histogram
from vllmperf.record.writer import RunWriter
from pathlib import Path
writer = RunWriter(Path(sys.argv[1]), PLAN, {})
number = 0
while True:
    writer.append(batch([Request(number + i, gaps=[10.0] * 50) for i in range(20)]))
    number += 20
    writer.checkpoint({"sent": number}, {"loop": histogram(1.0)})
    print(number, flush=True)
"""


def killed_run(path: Path, after_lines: int, delay_s: float) -> int:
    """Kill a writer with SIGKILL; how many requests it had said to have committed."""
    arguments = [sys.executable, "-c", CHILD, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(after_lines):
            child.stdout.readline()
        time.sleep(delay_s)
        os.kill(child.pid, signal.SIGKILL)
        said = child.stdout.read().split()
    return int(said[-1]) if said else after_lines * 20


@pytest.mark.parametrize("delay_s", [0.0, 0.0013, 0.0101, 0.0307])
def test_a_killed_run_keeps_everything_that_was_committed(tmp_path: Path, delay_s: float) -> None:
    path = tmp_path / "a.run"
    committed = killed_run(path, after_lines=2, delay_s=delay_s)
    recording = read(path)
    assert recording.state == "killed"
    assert len(recording.requests) >= committed
    assert len(recording.requests) % 20 == 0
    assert len(recording.gaps_ns) == 50 * len(recording.requests)
    assert recording.histograms["loop"].count == 1


WITHIN_A_COMMIT = """
import os, sys
sys.path.insert(0, sys.argv[2])
from synthetic import PLAN, batch, steady
from vllmperf.record.writer import RunWriter
from pathlib import Path
writer = RunWriter(Path(sys.argv[1]), PLAN, {})
writer.append(batch(steady(50)))
writer._db.execute("PRAGMA cache_size = 1")  # so that changed pages reach the file before the commit
writer._db.execute("BEGIN IMMEDIATE")
writer._db.execute("UPDATE requests SET gaps = zeroblob(20000)")
os.kill(os.getpid(), 9)
"""


def test_a_run_killed_within_a_commit_is_read_as_of_the_commit_before(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    arguments = [sys.executable, "-c", WITHIN_A_COMMIT, str(path), str(Path(__file__).parent)]
    subprocess.run(arguments, check=False)
    assert path.with_name("a.run-journal").exists()
    recording = read(path)
    assert (recording.gaps_ns == np.float32(10 * MS)).all()
    assert len(recording.requests) == 50
    assert recording.state == "killed"


# ---- files that are no run files ----


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no run file .*nothing\.run"):
        read(tmp_path / "nothing.run")


def test_a_folder_is_no_run_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"{}", b"SQLite format 2\0 or so", b"x" * 5000])
def test_other_content_is_no_run_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.run").write_bytes(content)
    with pytest.raises(UsageError, match="is not a run file"):
        read(tmp_path / "a.run")


def test_an_empty_file_is_a_run_that_never_began(tmp_path: Path) -> None:
    (tmp_path / "a.run").touch()
    with pytest.raises(UsageError, match="is empty"):
        read(tmp_path / "a.run")


def test_another_database_is_no_run_file(tmp_path: Path) -> None:
    sql(tmp_path / "a.db", "CREATE TABLE t(x)")
    with pytest.raises(UsageError, match="is a database but not a run file"):
        read(tmp_path / "a.db")


def test_a_newer_run_file_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [Request(0)])
    sql(path, f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    with pytest.raises(UsageError, match=r"newer vllmperf .* upgrade"):
        read(path)


def test_a_file_of_version_1_is_read_and_what_it_lacks_is_none(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [Request(0)])
    for column in schema.NOT_IN_ALL:
        sql(path, f"ALTER TABLE requests DROP COLUMN {column}")
    sql(path, "PRAGMA user_version = 1")
    recording = read(path)
    (row,), asked = recording.requests, recording.asked
    assert asked is not None
    values = [row[name] for name in schema.NOT_IN_ALL if name in row.dtype.names]
    assert {int(value) for value in [*values, *asked[0]]} == {NONE}
    assert row["output_tokens"] == row["chunks"] == 4


def test_a_run_of_an_older_version_can_be_gone_on_with(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [Request(0)], state="interrupted")
    for column in ("server_queue_ns", "server_prefill_ns", "server_decode_ns", "draft_steps"):
        sql(path, f"ALTER TABLE requests DROP COLUMN {column}")
    sql(path, "PRAGMA user_version = 3")
    with ResumedWriter(unfinished(path)) as writer:
        writer.append(batch([Request(1, fields={"server_queue_ns": 5})]))
    assert sql(path, 'SELECT server_queue_ns FROM requests ORDER BY "index"') == [(None,), (5,)]
    assert sql(path, "PRAGMA user_version") == [(schema.SCHEMA_VERSION,)]


def test_a_column_that_every_version_has_is_missed(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [Request(0)])
    sql(path, "ALTER TABLE requests DROP COLUMN chunks")
    with pytest.raises(UsageError, match="damaged"):
        read(path)


def test_a_damaged_file_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", steady(200))
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(UsageError, match="damaged"):
        read(path)


def test_an_unknown_name_in_the_file_is_damage(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [Request(0)])
    sql(path, "UPDATE requests SET outcome = 'vanished'")
    with pytest.raises(UsageError, match="damaged"):
        read(path)


def test_a_run_file_is_never_overwritten(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [Request(0)])
    with pytest.raises(UsageError, match="exists already"):
        RunWriter(path, PLAN, {})
    assert len(read(path).requests) == 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot make the run file"):
        RunWriter(tmp_path / "no" / "a.run", PLAN, {})


def test_an_empty_file_made_for_the_run_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.run").touch()
    assert len(read(write_run(tmp_path / "a.run", [Request(0)])).requests) == 1


def test_the_meta_values_are_strict_json(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [], plan={"x": float("nan"), "y": [float("-inf")]})
    ((text,),) = sql(path, "SELECT value FROM meta WHERE key = 'plan'")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    plan = json.loads(text, parse_constant=refuse)
    assert plan["x"] is None
    assert plan["y"] == ["-inf"]


def test_what_was_asked_for_stands_beside_what_came(tmp_path: Path) -> None:
    known: dict[int, tuple[int | None, int | None]] = {0: (8, 4), 1: (None, 5)}
    with RunWriter(
        tmp_path / "a.run", PLAN, {}, asked=lambda indexes: [known[index] for index in indexes]
    ) as writer:
        writer.append(batch([Request(1), Request(0)]))
        writer.finish("finished", {}, {})
    asked = read(tmp_path / "a.run").asked
    assert asked is not None
    tokens = asked[["asked_prompt_tokens", "asked_output_tokens"]]
    assert tokens.tolist() == [(8, 4), (NONE, 5)]
    assert set(asked["session"]) == {NONE}


def test_a_writer_that_was_killed_and_that_nobody_waits_for_has_ended() -> None:
    code = "import json; from vllmperf.record.process import this_process; print(json.dumps(this_process()), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        writer = json.loads(child.stdout.readline())
        assert is_alive(writer)
        child.kill()
        os.waitid(
            os.P_PID, child.pid, os.WEXITED | os.WNOWAIT
        )  # it has ended, and stays in the table of processes
        assert not is_alive(writer)
