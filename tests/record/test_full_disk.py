"""The disk is full in the middle of a run: what was written is kept and shown, and the reason is said."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import numpy as np
import pytest

import vllmperf
from vllmperf.cli import main
from vllmperf.errors import UsageError
from vllmperf.record import writer
from vllmperf.record.writer import RunFileError
from vllmperf.sim import Server

LOAD = {"max_concurrency": 4, "num_prompts": 280, "input_len": 4, "output_len": 40}
SLOW = {"ttft_ms": 10, "itl_ms": 1}
PAGE_BYTES = 8192


@pytest.fixture
def small(monkeypatch):
    """Run files of at most so many bytes: beyond them SQLite gives what a full disk gives."""
    create = writer.create

    def limited_to(n_bytes):
        def made(path):
            db = create(path)
            db.execute(f"PRAGMA max_page_count={n_bytes // PAGE_BYTES}")
            return db

        monkeypatch.setattr(writer, "create", made)

    limited_to.off = lambda: monkeypatch.setattr(writer, "create", create)
    return limited_to


def test_what_was_written_before_is_kept_and_the_reason_is_said(small, tmp_path):
    small(160_000)
    run = vllmperf.bench(sim=SLOW, **LOAD, record=tmp_path / "r")
    rows = run.requests
    assert 0 < len(rows) < LOAD["num_prompts"]
    assert (rows["output_tokens"] == 40).all()
    assert (np.diff(run.recording.gap_request) == 39).all()
    assert run.recording.state == "interrupted"
    ending = run.summary["ending"]
    assert ending["reason"] == "run_file"
    assert "could not be written (database or disk is full) and lacks" in ending["words"]
    counters = run.recording.counters
    assert counters["unwritten"] == counters["done"] - len(rows)
    assert "client_sums" not in {one["name"] for one in run.summary["verdict"]["findings"]}


def test_when_there_is_room_again_the_run_is_resumed(small, tmp_path):
    small(160_000)
    with Server(**SLOW) as server:
        path = tmp_path / "r"
        vllmperf.bench(server, **LOAD, record=path)
        run = vllmperf.bench(resume=path)
    assert run.recording.state == "finished"
    assert run.summary["ending"] is None
    assert run.requests["index"].tolist() == list(range(LOAD["num_prompts"]))


def test_a_file_that_cannot_even_be_begun_is_a_usage_error_and_leaves_nothing(small, tmp_path):
    small(2 * PAGE_BYTES)
    with pytest.raises(UsageError, match="database or disk is full"):
        vllmperf.bench(sim=SLOW, **LOAD, record=tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_where_not_even_the_reason_can_be_written_the_error_is_raised_once(small, tmp_path, monkeypatch):
    small(160_000)
    monkeypatch.setattr(writer.schema, "FREE_RESERVE", "INSERT INTO nothing VALUES(1)")
    with pytest.raises(RunFileError, match="cannot write the run file"):
        vllmperf.bench(sim=SLOW, **LOAD, record=tmp_path / "r")
    assert vllmperf.open_run(tmp_path / "r").summary["requests"]["completed"] > 0


def test_a_finished_run_file_holds_no_reserve(tmp_path):
    run = vllmperf.bench(sim=SLOW, **{**LOAD, "num_prompts": 8}, record=tmp_path / "r")
    import sqlite3

    with sqlite3.connect(run.path) as db:
        assert ("reserve",) not in db.execute("SELECT name FROM sqlite_master").fetchall()


def test_the_command_shows_the_report_and_exits_with_1_at_a_limit_of_the_system(tmp_path):
    words = (
        "bench --sim ttft_ms=10,itl_ms=1 --max-concurrency 4 --num-prompts 280 --output-len 40 --no-progress"
    )
    asked = [*words.split(), "--record", str(tmp_path / "r"), "--json", str(tmp_path / "j")]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    done = subprocess.run(
        [sys.executable, "-m", "vllmperf", *asked],
        capture_output=True,
        text=True,
        timeout=100,
        preexec_fn=limit,
    )
    shown = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stderr
    assert "this run gave up: the run file could not be written (disk I/O error)" in shown
    assert "error" not in done.stderr
    assert json.loads((tmp_path / "j").read_text())["ending"]["reason"] == "run_file"
    assert main(["report", str(tmp_path / "r")]) == 0
