"""A run that was broken off goes on where it stopped: nothing is sent twice, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

import vllmperf as vp
from vllmperf.cli import main
from vllmperf.errors import UsageError
from vllmperf.loadgen.rest import check_plan
from vllmperf.plan import Plan
from vllmperf.record.process import is_alive, this_process
from vllmperf.record.resumed import ResumedWriter
from vllmperf.record.unfinished import unfinished
from vllmperf.report.words import break_words

N = 60


@pytest.fixture
def server(tmp_path):
    with vp.sim.Server(ttft_ms=100, itl_ms=2, truth=str(tmp_path / "truth")) as server:
        server.truth = tmp_path / "truth"
        yield server


def ids(server) -> Counter[str]:
    """Of the completions that the server answered, by its truth file, which is whole when it has stopped."""
    server.stop()
    rows = [json.loads(line) for line in server.truth.read_text().splitlines() if line.endswith("}")]
    return Counter(row["request_id"] for row in rows if row["path"].endswith("completions"))


def begun(server, path, n=N // 4, **settings):
    """The process of a run that has recorded so many of its requests."""
    words = [
        sys.executable,
        "-m",
        "vllmperf",
        "bench",
        "--base-url",
        server.url,
        "--num-prompts",
        N,
        "--record",
        path,
    ]
    words += ["--request-id-prefix", "mine-", "--output-len", 6, "--no-progress"]
    words += [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    child = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(path, n, child)
    return child


def wait_for(path, n, child):
    until = time.monotonic() + 60
    while recorded(path) < n:
        assert time.monotonic() < until
        assert child.poll() is None, "the run was over before it could be broken off"
        time.sleep(0.01)


def broken_off(server, path, **settings):
    """A run that is killed by -9 in its middle."""
    kill(begun(server, path, **settings))
    return path


def kill(child):
    child.kill()
    child.wait()


def interrupted(server, path, times, **settings):
    """A run that gets Ctrl-C, once or twice, in its middle."""
    child = begun(server, path, **settings)
    for _ in range(times):
        child.send_signal(signal.SIGINT)
        time.sleep(0.1)
    # The second one may come when the run is over and the program about to end.
    assert child.wait(60) in (130, -signal.SIGINT)


def recorded(path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM requests").fetchone()[0])
    except sqlite3.Error:
        return 0


LOADS = {
    "closed loop": {"max_concurrency": 3, "goodput": "ttft:500"},
    "open loop": {"request_rate": 25, "arrival": "poisson", "seed": 3},
}


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_after_a_kill_each_request_is_in_the_file_once_and_finished_ones_are_not_sent_again(
    server, tmp_path, load
):
    path = broken_off(server, tmp_path / "run.vllmperf", **load)
    before = vp.open_run(path).requests["index"].tolist()
    run = vp.bench(resume=path)
    assert run.requests["index"].tolist() == list(range(N))
    assert run.summary["requests"]["outcomes"] == {"completed": N}
    assert run.recording.state == "finished"
    times_sent = ids(server)
    assert set(times_sent) == {f"mine-{i}" for i in range(N)}
    assert {times_sent[f"mine-{i}"] for i in before} == {1}


@pytest.mark.slow
def test_the_break_is_recorded_and_counts_for_no_time(server, tmp_path):
    path = broken_off(server, tmp_path / "run.vllmperf", max_concurrency=3)
    time.sleep(1.5)
    run = vp.bench(resume=path)
    (one,) = run.summary["breaks"]
    assert one["break_ns"] > 1.4e9
    ends = np.sort(run.requests["end_ns"])
    assert run.requests["sent_ns"].max() < ends.max()
    lived = run.summary["duration_s"]
    assert lived < (ends.max() - ends.min()) / 1e9 + 1.0
    assert one["at_ns"] / 1e9 < lived
    assert "left out of the time" in break_words(run.summary["breaks"])


@pytest.mark.slow
def test_a_poisson_schedule_goes_on_at_the_times_that_are_left(server, tmp_path):
    load = {"request_rate": 25, "arrival": "poisson", "seed": 3}
    path = broken_off(server, tmp_path / "run.vllmperf", **load)
    whole = vp.bench(server, num_prompts=N, output_len=6, request_id_prefix="whole-", **load)
    run = vp.bench(resume=path)
    at_ns = run.summary["breaks"][0]["at_ns"]
    later = whole.requests["scheduled_ns"] > at_ns
    np.testing.assert_allclose(
        run.requests["scheduled_ns"][later], whole.requests["scheduled_ns"][later], atol=1
    )


@pytest.mark.slow
def test_what_came_due_while_a_stopped_run_let_its_answers_end_is_no_burst(tmp_path):
    """Answers take a second, in which ten requests come due that are not sent any more."""
    path = tmp_path / "run.vllmperf"
    with vp.sim.Server(ttft_ms=1000, itl_ms=2) as server:
        interrupted(server, path, times=1, request_rate=10, arrival="constant", n=1)
        run = vp.bench(resume=path)
    assert run.summary["requests"]["outcomes"] == {"completed": N}
    scheduled = np.sort(run.requests["scheduled_ns"])
    later = scheduled[scheduled >= run.summary["breaks"][0]["at_ns"]]
    assert len(later) > 1
    assert np.sum(np.diff(later) < 1e6) <= 1  # one may be due, and not yet sent, when the run is stopped


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_run_sends_what_was_cut_off_again(server, tmp_path, times):
    path = tmp_path / "run.vllmperf"
    interrupted(server, path, times, max_concurrency=4)
    run = vp.bench(resume=path)
    assert run.summary["requests"]["outcomes"] == {"completed": N}
    assert run.requests["index"].tolist() == list(range(N))


def test_a_run_can_be_broken_off_and_resumed_twice(tmp_path):
    """One request at a time; the 30th and the 40th that come never end, so no part is over before its kill."""
    path = tmp_path / "run.vllmperf"
    words = [sys.executable, "-m", "vllmperf", "bench", "--resume", str(path), "--no-progress"]
    with vp.sim.Server(ttft_ms=1, itl_ms=0, faults=["stall:after=3@at=30,40"]) as server:
        kill(begun(server, path, n=29, max_concurrency=1))
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        wait_for(path, 29 + 9, child)
        kill(child)
        subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
    run = vp.open_run(path)
    assert run.requests["index"].tolist() == list(range(N))
    assert len(run.summary["breaks"]) == 2
    assert [name for name, check in run.summary["identities"].items() if check["broken"]] == []


def test_counters_and_histograms_are_those_of_both_parts(server, tmp_path):
    path = tmp_path / "run.vllmperf"
    interrupted(server, path, times=1, request_rate=25, arrival="constant")
    run = vp.bench(resume=path)
    assert run.recording.counters["completed"] == N
    assert run.recording.histograms["schedule_lag"].count == N


def test_what_differs_from_the_plan_of_the_file_is_refused_by_name(server, tmp_path):
    path = broken_off(server, tmp_path / "run.vllmperf", max_concurrency=3)
    with pytest.raises(
        UsageError, match="max_concurrency was 3 when this run started and is 5 now: leave it out"
    ):
        vp.bench(resume=path, max_concurrency=5)
    words = [sys.executable, "-m", "vllmperf", "bench", "--resume", str(path), "--max-concurrency", "5"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--max-concurrency was 3 when this run started and is 5 now: leave it out" in done.stderr
    assert vp.bench(resume=path, max_concurrency=3).recording.state == "finished"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "--duration 60",
            "--duration 60 was not given when this run started: leave it out, or make a new run",
        ),
        ("--no-stream", "--no-stream was not given when this run started: leave it out, or make a new run"),
        (
            "--request-rate 5",
            "--request-rate 5 was not given when this run started: leave it out, or make a new run",
        ),
        (
            "--num-prompts 7",
            "--num-prompts was 60 when this run started and is 7 now: leave it out, or make a new run",
        ),
        ("--header a=secret", "--header was another when this run started: leave it out, or make a new run"),
        (
            "--max-concurrency 5 --duration 1m",
            "--max-concurrency was 3 when this run started and is 5 now; --duration 60 was not given when this run "
            "started: leave them out, or make a new run",
        ),
    ],
)
def test_each_kind_of_difference_is_told_in_one_line_by_its_flag(broken_off_run, capsys, words, told):
    assert main(["bench", "--resume", str(broken_off_run), *words.split()]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert (captured.out, line) == ("", f"vllmperf: error: --resume {broken_off_run}: {told}")


@pytest.fixture(scope="module")
def broken_off_run(tmp_path_factory):
    with vp.sim.Server(ttft_ms=100, itl_ms=2) as server:
        return broken_off(server, tmp_path_factory.mktemp("broken") / "run.vllmperf", max_concurrency=3)


def test_what_was_given_and_is_not_now_is_to_be_given_again():
    before = SimpleNamespace(
        path="run.vllmperf",
        meta={"plan": Plan.of(base_url="http://x", num_prompts=5, duration=60).to_dict()},
    )
    with pytest.raises(
        UsageError, match="duration 60 was given when this run started and is not now: give it as then"
    ):
        check_plan(before, Plan.of(base_url="http://x", num_prompts=5))


def test_a_complete_run_and_a_file_that_is_none_are_refused_and_left_as_they_are(tmp_path):
    path = tmp_path / "run.vllmperf"
    vp.bench(sim=True, num_prompts=4, output_len=2, record=path)
    there = path.read_bytes()
    with pytest.raises(UsageError, match="this run is complete, nothing is left to do"):
        vp.bench(resume=path)
    assert path.read_bytes() == there
    with pytest.raises(UsageError, match="there is no run file"):
        vp.bench(resume=tmp_path / "none")


def test_a_run_that_goes_on_is_not_resumed_beside_it(tmp_path):
    path = tmp_path / "run.vllmperf"
    vp.bench(sim=True, num_prompts=4, output_len=2, record=path)
    with sqlite3.connect(path) as db:
        for key, value in (("state", "running"), ("writer", this_process())):
            db.execute("UPDATE meta SET value = ? WHERE key = ?", (json.dumps(value), key))
    with pytest.raises(UsageError, match="this run still goes on"):
        vp.bench(resume=path)


def test_a_writer_whose_pid_came_back_as_another_process_is_dead():
    here = this_process()
    assert is_alive(here)
    assert not is_alive({**here, "began_ticks": here["began_ticks"] - 1})
    assert not is_alive({**here, "host": "another"})
    assert is_alive({"pid": os.getpid(), "host": here["host"]})


def test_what_a_run_sets_aside_stays_in_memory_also_when_it_is_resumed(tmp_path):
    """It may have no folder but its own: the service confines its runs so. SQLite's own choice is a file in /tmp."""
    run = vp.bench(sim=True, num_prompts=4, output_len=2, record=tmp_path / "run")
    in_memory = (2,)
    with ResumedWriter(unfinished(run.path, is_own=True)) as writer:
        assert writer._db.execute("PRAGMA temp_store").fetchone() == in_memory
