"""A run gives up when too many requests fail: what was measured is kept, and the reason is said."""

import json
import threading

import pytest

import vllmperf
import vllmperf._engine as _engine
from vllmperf.cli import main
from vllmperf.errors import CheckError, SettingError
from vllmperf.plan import Plan
from vllmperf.plan.limits import WINDOW
from vllmperf.record import merge
from vllmperf.sim import Server

LOAD = {"max_concurrency": 4, "num_prompts": 5000, "input_len": 4, "output_len": 3}
FAST = {"ttft_ms": 2, "itl_ms": 0.5}


def failed(run) -> int:
    outcomes = run.summary["requests"]["outcomes"]
    return sum(outcomes.values()) - outcomes.get("completed", 0) - outcomes.get("incomplete", 0)


def gone_after(n: int, server: Server):
    """A progress function that stops the server when n requests have completed, from another thread."""
    once = threading.Lock()

    def look(snapshot):
        if snapshot.completed >= n and once.acquire(blocking=False):
            threading.Thread(target=server.stop).start()

    return look


def test_when_the_server_goes_away_the_run_stops_and_keeps_what_it_measured(tmp_path):
    with Server(**FAST) as server:
        run = vllmperf.bench(
            server, **LOAD, max_errors=10, record=tmp_path / "r", progress=gone_after(20, server)
        )
    assert run.recording.state == "interrupted"
    assert run.summary["requests"]["completed"] >= 20
    assert 10 <= failed(run) <= 10 + LOAD["max_concurrency"]
    assert run.summary["ending"]["reason"] == "max_errors"
    assert "10 requests had failed" in run.summary["ending"]["words"]
    assert "gave_up" in {one["name"] for one in run.summary["verdict"]["findings"]}
    assert vllmperf.open_run(tmp_path / "r").summary["ending"] == run.summary["ending"]


def test_a_share_of_the_last_requests_ends_the_run_once_there_are_enough_of_them():
    faulty = {**FAST, "faults": ["status:code=500@every=2"]}
    run = vllmperf.bench(sim=faulty, **LOAD, max_error_rate=0.5)
    assert run.summary["ending"]["reason"] == "max_error_rate"
    assert 100 <= sum(run.summary["requests"]["outcomes"].values()) <= 100 + 2 * LOAD["max_concurrency"]


def test_fewer_failures_than_the_limits_end_no_run():
    faulty = {**FAST, "faults": ["status:code=500@every=5"]}
    run = vllmperf.bench(sim=faulty, **{**LOAD, "num_prompts": 150}, max_errors=31, max_error_rate=0.3)
    assert run.summary["ending"] is None
    assert run.recording.state == "finished"
    assert run.summary["requests"]["outcomes"] == {"completed": 120, "http_error": 30}


def test_requests_that_the_end_of_the_run_cuts_off_have_not_failed():
    slow = {"ttft_ms": 60_000}
    run = vllmperf.bench(
        sim=slow, **{**LOAD, "num_prompts": None}, duration=0.3, grace_period=0, max_errors=1
    )
    assert run.summary["requests"]["outcomes"] == {"incomplete": 4}
    assert run.summary["ending"] is None


def test_failing_warm_up_requests_do_not_count():
    faulty = {**FAST, "faults": ["status:code=500@every=2"]}
    run = vllmperf.bench(sim=faulty, **{**LOAD, "num_prompts": 3}, num_warmups=6, max_errors=3)
    assert run.summary["ending"] is None


def test_the_command_line_says_why_and_exits_with_1(tmp_path, capsys):
    words = (
        "bench --sim ttft_ms=2,itl_ms=0.5,faults=status:code=500@every=3 --max-concurrency 2 --output-len 2"
    )
    code = main([*words.split(), "--no-progress", "--max-errors", "4", "--json", str(tmp_path / "j")])
    shown = " ".join(capsys.readouterr().out.split())
    assert code == 1
    assert "this run gave up: 4 requests had failed (--max-errors 4)" in shown
    assert json.loads((tmp_path / "j").read_text())["ending"]["reason"] == "max_errors"


def test_where_nobody_listens_the_exit_code_is_still_that_of_a_server_that_is_not_there(port, capsys):
    address = ["--base-url", f"http://127.0.0.1:{port}", "--model", "m"]
    code = main(["bench", *address, "--max-concurrency", "2", "--max-errors", "5", "--no-progress"])
    assert code == 3
    assert "gave up" in capsys.readouterr().out


def test_a_run_that_gave_up_goes_on_when_the_server_is_back(tmp_path, port):
    load = {**LOAD, "num_prompts": 400, "max_errors": 5}
    path = tmp_path / "r"
    with Server(ttft_ms=100, itl_ms=1, port=port) as server:
        vllmperf.bench(server, **load, record=path, progress=gone_after(8, server))
    before = vllmperf.open_run(path).summary
    assert before["ending"]["reason"] == "max_errors"
    with Server(**FAST, port=port):
        run = vllmperf.bench(resume=path)
    assert run.summary["ending"] is None
    assert run.recording.state == "finished"
    assert sum(run.summary["requests"]["outcomes"].values()) == 400


def test_a_series_of_runs_ends_where_one_gives_up():
    with pytest.raises(CheckError, match="the first run is of no use: it gave up: 2 requests had failed"):
        vllmperf.repeat(Plan.of(base_url="http://127.0.0.1:9", model="m", **LOAD), 2, max_errors=2)


def test_a_merged_file_says_that_a_part_gave_up(tmp_path):
    for name in "ab":
        vllmperf.bench(
            Plan.of(base_url="http://127.0.0.1:9", model="m", **LOAD), max_errors=2, record=tmp_path / name
        )
    merged = vllmperf.open_run(merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c"))
    assert merged.summary["ending"]["reason"] == "max_errors"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_errors": 0}, "max_errors must be at least 1"),
        ({"max_error_rate": 0}, "max_error_rate must be above 0"),
        ({"max_error_rate": 20}, "max_error_rate must be at most 1"),
    ],
)
def test_limits_that_make_no_sense_are_one_clear_line(given, words):
    with pytest.raises(SettingError, match=words):
        Plan.of(base_url="http://127.0.0.1:1", **given)


def test_a_plan_keeps_the_limits_through_json():
    plan = Plan.of(base_url="http://127.0.0.1:1", max_errors=7, max_error_rate=0.25)
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.to_dict()["limits"]["max_errors"] == 7


@pytest.mark.parametrize(("share", "many"), [(0.2, 20), (0.07, 7), (0.001, 1), (0.555, 56), (1.0, 100)])
def test_a_share_is_so_many_of_the_last_hundred(share, many):
    assert Plan.of(base_url="http://h", max_error_rate=share).limits.max_recent_errors == many
    assert _engine.FAILURES_WINDOW == WINDOW == 100
