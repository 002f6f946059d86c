"""A server that goes and comes back under load: the run waits, nothing is lost, nothing counts twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from lossy import PREFIX, Lives, Running, recorded

import vllmperf as vp
import vllmperf._engine as _engine
from vllmperf.errors import TargetError, UsageError
from vllmperf.loadgen.outage import LossGuard
from vllmperf.loadgen.session import NOTHING, Turn
from vllmperf.plan.knobs import patience_s
from vllmperf.report.words import break_words

N = 120
SETTINGS = {"num_prompts": N, "output_len": 6, "request_id_prefix": PREFIX, "on_server_loss": "wait"}
LOADS = {"open loop": {"request_rate": 60}, "closed loop": {"max_concurrency": 4}}


@pytest.fixture
def lives(tmp_path, port):
    found = Lives(tmp_path, port)
    yield found
    found.end()


def counted(lives) -> Counter[str]:
    """How often each request was seen, by all lives of the server."""
    return sum(lives.seen(), Counter())


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_a_run_waits_for_its_server_and_each_request_is_sent_and_recorded_once(lives, tmp_path, load):
    lives.begin()
    running = Running(tmp_path / "run", base_url=lives.url, **SETTINGS, **load)
    running.wait_for(N // 4)
    lives.end()
    assert running.is_gone.wait(60)
    lives.begin()
    run = running.result()
    assert run.requests["index"].tolist() == list(range(N))
    assert run.recording.state == "finished"
    broken = {i for i, outcome in recorded(run.path).items() if outcome != "completed"}
    seen = counted(lives)
    assert set(seen.values()) == {1}
    assert {f"{PREFIX}{i}" for i in range(N)} - set(seen) <= {f"{PREFIX}{i}" for i in broken}
    assert run.summary["requests"]["outcomes"]["completed"] == N - len(broken)


def test_the_outage_is_a_break_of_the_run_and_counts_for_no_time(lives, tmp_path):
    lives.begin()
    running = Running(tmp_path / "run", base_url=lives.url, request_rate=60, **SETTINGS)
    running.wait_for(N // 4)
    lives.end()
    assert running.is_gone.wait(60)
    assert vp.open_run(tmp_path / "run").recording.state == "running"
    lives.begin()
    summary = running.result().summary
    (one,) = summary["breaks"]
    assert one["reason"] == "server_lost"
    assert one["not_sent"] > 0
    assert "(server lost)" in break_words(summary["breaks"])
    assert summary["ending"] is None


def test_a_server_that_comes_back_too_late_ends_the_run_whose_file_can_be_resumed(lives, tmp_path):
    lives.begin()
    settings = {**SETTINGS, "base_url": lives.url, "request_rate": 60, "on_server_loss": "wait:1s"}
    running = Running(tmp_path / "run", **settings)
    running.wait_for(N // 4)
    lives.end()
    summary = running.result().summary
    assert summary["ending"]["reason"] == "server_lost"
    assert summary["state"] == "interrupted"
    lives.begin()
    run = vp.bench(resume=tmp_path / "run")
    assert run.requests["index"].tolist() == list(range(N))
    assert [one["reason"] for one in run.summary["breaks"]] == ["server_lost"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_is_stopped_while_it_waits_goes_on_later(lives, tmp_path, how):
    lives.begin()
    path = tmp_path / "run"
    words = ["--base-url", lives.url, "--num-prompts", N, "--request-rate", 60, "--output-len", 6]
    words += ["--record", path, "--request-id-prefix", PREFIX, "--on-server-loss", "wait"]
    command = [sys.executable, "-m", "vllmperf", "bench", *map(str, words), "--no-progress"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        while len(recorded(path)) < N // 4:
            assert child.poll() is None
        lives.end()
        assert child.stderr is not None
        assert "waiting" in child.stderr.readline()
        child.send_signal(how)
        assert child.wait(60) in (130, -how)
    state = vp.open_run(path).recording.state
    assert state == ("killed" if how == signal.SIGKILL else "interrupted")
    lives.begin()
    run = vp.bench(resume=path)
    assert run.requests["index"].tolist() == list(range(N))
    assert max(counted(lives).values()) == 1


def test_a_run_waits_for_a_server_that_is_not_there_yet(lives, tmp_path):
    running = Running(tmp_path / "run", base_url=lives.url, max_concurrency=4, **SETTINGS)
    lives.begin()
    assert running.result().summary["requests"]["outcomes"] == {"completed": N}


def test_without_a_server_in_time_no_run_begins(lives, tmp_path):
    with pytest.raises(TargetError, match=r"not ready within 0\.5 s"):
        vp.bench(lives.url, record=tmp_path / "run", **{**SETTINGS, "on_server_loss": "wait:500ms"})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "more",
    [
        {"until": "ttft_p99±5%", "duration": 60},
        {"dataset_name": "multi_turn"},
    ],
)
def test_what_cannot_be_resumed_cannot_wait(more):
    with pytest.raises(UsageError, match="on_server_loss"):
        vp.bench("http://127.0.0.1:9", on_server_loss="wait", max_concurrency=2, **more)


@pytest.mark.parametrize("given", ["hope", "wait:", "wait:soon", "record:3", 3, None])
def test_other_words_for_a_lost_server_are_refused(given):
    with pytest.raises(UsageError, match="record, wait or wait:LIMIT"):
        vp.bench("http://127.0.0.1:9", on_server_loss=given)


def test_a_limit_is_a_duration():
    assert patience_s("wait:1h30m") == 5400


# ---- what counts as what ----


class Told:
    """Takes turns, and keeps what was in them."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str]] = []
        self.texts, self.state = b"", ""

    def __call__(self, turn: Turn) -> None:
        records = np.frombuffer(turn.batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE))
        self.rows += [(int(row["index"]), _engine.OUTCOMES[row["outcome"]]) for row in records]
        self.texts += turn.batch["bytes"]
        self.state = turn.state


def turn(*rows, state="running", ends=None, gave_up=None):
    """rows: (index, outcome, fields) of finished requests, each with its number as the error."""
    records = np.zeros(len(rows), dtype=np.dtype(_engine.RECORD_DTYPE))
    text = b""
    for record, (index, outcome, fields) in zip(records, rows, strict=True):
        record["index"], record["outcome"] = index, _engine.OUTCOMES.index(outcome)
        record["first_token_ns"] = _engine.NONE
        error = f"<{index}>".encode()
        record["error_len"] = len(error)
        text += error
        for name, value in fields.items():
            record[name] = value
    batch = {**NOTHING, "records": records.tobytes(), "bytes": text}
    counters = {"start_mono_ns": 0, "gave_up": gave_up}
    return Turn(batch, counters, {}, state, ends or (lambda _now: None))


def settled(guard):
    """As if the look at the server had taken its time."""
    if guard._probe is not None:
        guard._probe.wait()


def test_failures_at_a_server_that_is_there_are_failures():
    told = Told()
    guard = LossGuard(lambda: True, [told])
    guard(turn((0, "completed", {}), (1, "refused", {}), (2, "reset", {})))
    settled(guard)
    guard(turn((3, "completed", {})))
    guard(turn(state="finished"))
    assert sorted(told.rows) == [(0, "completed"), (1, "refused"), (2, "reset"), (3, "completed")]
    assert sorted(told.texts) == sorted(b"<0><1><2><3>")
    assert told.state == "finished"


def test_of_a_lost_server_only_what_it_may_have_seen_is_recorded():
    told, ended = Told(), []
    guard = LossGuard(lambda: False, [told], from_ns=1000)
    guard(turn((0, "reset", {"end_ns": 50}), (1, "refused", {"end_ns": 60}), ends=ended.append))
    settled(guard)
    guard(turn((2, "refused", {}), (3, "refused", {"retries": 1}), ends=ended.append))
    cut = {"sent_ns": 5}
    guard(turn((4, "incomplete", cut), (5, "incomplete", cut | {"first_token_ns": 7}), (6, "completed", {})))
    guard(turn(state="finished"))
    assert guard.is_lost
    assert guard.has_paused
    assert ended == [False]
    outcomes = {0: "reset", 3: "reset", 4: "first_token_timeout", 5: "stalled", 6: "completed"}
    assert dict(told.rows) == outcomes
    assert told.state == "paused"
    assert guard.not_sent == 2


def test_a_loss_that_is_seen_at_the_very_end_is_asked_for_before_the_end():
    told = Told()
    guard = LossGuard(lambda: False, [told])
    guard(turn((0, "refused", {})))
    guard(turn(state="finished"))
    assert told.rows == []
    assert guard.has_paused


def test_a_limit_of_failures_that_a_lost_server_reached_does_not_give_up():
    told = Told()
    guard = LossGuard(lambda: False, [told])
    guard(turn((0, "refused", {})))
    guard(turn(state="interrupted", gave_up="max_errors"))
    assert guard.has_paused


def test_somebody_who_stops_a_run_in_an_outage_stops_it():
    guard = LossGuard(lambda: False, [Told()])
    guard(turn((0, "refused", {})))
    guard(turn(state="interrupted"))
    assert guard.is_lost
    assert not guard.has_paused
