"""The truth file: what it says fits what was planned, what a client saw, and itself."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from wire import Wire, chat, complete, request

from vllmperf.errors import UsageError
from vllmperf.sim import Server

MS = 1_000_000


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def planned(path: Path, n: int, max_tokens: int = 40, **settings: Any) -> list[list[int]]:
    """What n requests were planned to do, in ns after they were read."""
    with Server(**{"ttft_ms": 1, "itl_ms": 0.1, "truth": path, **settings}) as server:
        for _ in range(n):
            complete(server.port, max_tokens=max_tokens)
    return [[at - row["read_mono_ns"] for at in row["planned_mono_ns"]] for row in read(path)]


def test_each_request_has_a_line_with_its_id_and_its_tokens(tmp_path: Path) -> None:
    with Server(ttft_ms=1, itl_ms=1, truth=tmp_path / "truth") as server:
        complete(server.port, {"x-request-id": "one"}, prompt=[1, 2, 3])
        chat(server.port, {"x-request-id": 'two "quoted"'})
        made_up = complete(server.port, stream=False).header("x-request-id")
    rows = read(tmp_path / "truth")
    assert [row["request_id"] for row in rows] == ["one", 'two "quoted"', made_up]
    assert [row["number"] for row in rows] == [1, 2, 3]
    assert [row["path"].rpartition("/")[2] for row in rows] == ["completions"] * 3
    assert [row["stream"] for row in rows] == [True, True, False]
    assert [len(row["written_mono_ns"]) for row in rows] == [6, 6, 1]
    assert [row["completion_tokens"] for row in rows] == [6, 6, 6]
    assert [row["prompt_tokens"] for row in rows] == [3, 10, 3]
    assert {row["outcome"] for row in rows} == {"finished"}


def test_times_are_in_the_order_in_which_things_happen(tmp_path: Path) -> None:
    with Server(ttft_ms=5, itl_ms=1, truth=tmp_path / "truth") as server:
        for _ in range(5):
            complete(server.port, max_tokens=20)
    for row in read(tmp_path / "truth"):
        written, plan = row["written_mono_ns"], row["planned_mono_ns"]
        assert row["arrived_real_ns"] <= row["read_real_ns"]
        assert row["read_mono_ns"] <= row["head_mono_ns"] <= written[0] <= row["end_mono_ns"]
        assert all(was >= should for was, should in zip(written, plan, strict=True))
        assert written == sorted(written)
        assert abs(row["read_real_ns"] - row["read_mono_ns"] - row["real_minus_mono_ns"]) < 1000 * MS


def test_the_plan_is_ttft_after_reading_then_one_itl_each(tmp_path: Path) -> None:
    (row,) = planned(tmp_path / "truth", 1, ttft_ms=5, itl_ms=0.25)
    assert row == [5 * MS + k * MS // 4 for k in range(40)]


def test_a_body_is_planned_for_when_its_last_token_would_be(tmp_path: Path) -> None:
    with Server(ttft_ms=5, itl_ms=2, truth=tmp_path / "truth") as server:
        complete(server.port, stream=False)
    (row,) = read(tmp_path / "truth")
    assert row["planned_mono_ns"][0] - row["read_mono_ns"] == 5 * MS + 5 * 2 * MS


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_drawn_times_have_the_mean_and_deviation_asked_for(tmp_path: Path, kind: str) -> None:
    rows = planned(tmp_path / "truth", 40, ttft_ms=f"{kind}:2:0.5", itl_ms=f"{kind}:0.5:0.1", seed=1)
    ttft = [row[0] / MS for row in rows]
    gaps = [(b - a) / MS for row in rows for a, b in itertools.pairwise(row)]
    assert statistics.mean(ttft) == pytest.approx(2, abs=0.3)
    assert statistics.stdev(ttft) == pytest.approx(0.5, rel=0.4)
    assert statistics.mean(gaps) == pytest.approx(0.5, rel=0.02)
    assert statistics.stdev(gaps) == pytest.approx(0.1, rel=0.1)


def test_plans_follow_from_seed_and_request_number_alone(tmp_path: Path) -> None:
    plans = [
        planned(tmp_path / f"{i}", 5, ttft_ms="normal:2:1", itl_ms="lognormal:0.2:0.1", seed=seed)
        for i, seed in enumerate([3, 3, 4])
    ]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]
    assert len({tuple(row) for row in plans[0]}) == 5


def test_choices_of_a_step_are_planned_for_the_same_time(tmp_path: Path) -> None:
    with Server(ttft_ms=1, itl_ms=1, truth=tmp_path / "truth") as server:
        complete(server.port, n=2, max_tokens=3)
    (row,) = read(tmp_path / "truth")
    assert row["choice"] == [0, 1, 0, 1, 0, 1]
    assert row["planned_mono_ns"][0::2] == row["planned_mono_ns"][1::2]


def test_merged_events_share_plan_and_time(tmp_path: Path) -> None:
    with Server(ttft_ms=1, itl_ms=1, faults=["merge:events=3"], truth=tmp_path / "truth") as server:
        complete(server.port, max_tokens=6)
    (row,) = read(tmp_path / "truth")
    for key in ("planned_mono_ns", "written_mono_ns"):
        assert [len({*row[key][:3]}), len({*row[key][3:]}), len({*row[key]})] == [1, 1, 2]
    assert row["planned_mono_ns"][0] - row["read_mono_ns"] == 3 * MS


@pytest.mark.parametrize(
    ("fault", "outcome", "status", "chunks"),
    [
        ("status", "status", 500, 0),
        ("rate_limit", "rate_limit", 429, 0),
        ("html", "html", 200, 0),
        ("drop", "drop", 0, 0),
        ("reset:after=2", "reset", 200, 2),
        ("close:after=2", "close", 200, 2),
        ("stall:after=2", "stall", 200, 2),
        ("silent", "silent", 200, 0),
        ("stream_error:after=2", "stream_error", 200, 2),
        ("stall:after=2:ms=20", "finished", 200, 6),
        ("crlf", "finished", 200, 6),
        ("split:gap_us=100", "finished", 200, 6),
        ("nonsense", "rejected", 400, 0),
    ],
)
def test_faults_are_named(tmp_path: Path, fault: str, outcome: str, status: int, chunks: int) -> None:
    server = Server(ttft_ms=1, itl_ms=1, truth=tmp_path / "truth")
    endless = fault in ("stall:after=2", "silent")
    with server, contextlib.suppress(EOFError, OSError):
        complete(server.port, {"x-sim-fault": fault}, timeout=2 if endless else 60)
    (row,) = read(tmp_path / "truth")
    assert (row["outcome"], row["http_status"], len(row["written_mono_ns"])) == (outcome, status, chunks)
    assert row["faults"] == ([fault.partition(":")[0]] if fault != "nonsense" else [])


def test_a_stall_shows_in_what_was_written_not_in_the_plan(tmp_path: Path) -> None:
    with Server(ttft_ms=1, itl_ms=1, faults=["stall:after=2:ms=100"], truth=tmp_path / "truth") as server:
        complete(server.port)
    (row,) = read(tmp_path / "truth")
    assert row["written_mono_ns"][2] - row["written_mono_ns"][1] >= 98 * MS
    assert row["planned_mono_ns"][2] - row["planned_mono_ns"][1] == MS


def test_cut_events_are_written_when_their_last_piece_is(tmp_path: Path) -> None:
    faults = ["split:pieces=3:gap_us=2000"]
    with Server(ttft_ms=1, itl_ms=20, faults=faults, truth=tmp_path / "truth") as server:
        complete(server.port, max_tokens=3)
    (row,) = read(tmp_path / "truth")
    late = [was - should for was, should in zip(row["written_mono_ns"], row["planned_mono_ns"], strict=True)]
    assert min(late) >= 2 * MS


def test_who_hangs_up_or_is_cut_off_has_a_line(tmp_path: Path) -> None:
    body = {"prompt": "a", "stream": True, "max_tokens": 1000}
    with Server(ttft_ms=1, itl_ms=50, truth=tmp_path / "truth") as server:
        with Wire(server.port) as gone:
            gone.send(request("POST", "/v1/completions", body, {"x-request-id": "gone"}))
            gone.line()
        other = Wire(server.port)
        other.send(request("POST", "/v1/completions", body, {"x-request-id": "cut"}))
        other.line()
        while not server.stats["client_gone"]:
            pass
    other.socket.close()
    assert {row["request_id"]: row["outcome"] for row in read(tmp_path / "truth")} == {
        "gone": "client_gone",
        "cut": "server_stopped",
    }


def test_a_truth_file_that_cannot_be_made_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="truth file"):
        Server(truth=tmp_path / "no" / "such" / "folder").start()


def test_a_truth_file_that_cannot_be_written_is_an_error_at_the_end() -> None:
    server = Server(ttft_ms=0, itl_ms=0, truth="/dev/full").start()
    complete(server.port)
    with pytest.raises(OSError, match="truth file"):
        server.stop()
    server.stop()
