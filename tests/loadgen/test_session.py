"""The session: driven from any thread, stopped from any other, and nothing lost by whoever listens."""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vllmperf
from vllmperf import _engine
from vllmperf.errors import UsageError
from vllmperf.loadgen.bodies import Body
from vllmperf.loadgen.feed import Feeder
from vllmperf.loadgen.run import engine_config
from vllmperf.loadgen.schedule import Schedule
from vllmperf.loadgen.session import Block, Session
from vllmperf.loadgen.subscribers import recorder
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan
from vllmperf.record.reader import read
from vllmperf.record.writer import RunWriter
from vllmperf.sim import Server

BODY = json.dumps({"model": "sim", "prompt": [1, 2, 3], "max_tokens": 3, "stream": True}).encode()


def session(url, n=None, times_ns=None, **settings):
    """A session with n equal requests; without n only stop() ends it."""
    times = None if times_ns is None else iter([np.asarray(times_ns, dtype=np.int64)])
    when = Schedule(n, times)
    plan = Plan.of(base_url=url, model="sim", **{"max_concurrency": 2, **settings})
    feeder = Feeder(itertools.repeat(Body(BODY)), when, plan.load.max_concurrency)
    return Session(engine_config(Task(plan), ["127.0.0.1"], when), feeder)


class Kept:
    """A subscriber that keeps the numbers of the finished requests, and of which threads it was called."""

    def __init__(self):
        self.indexes, self.threads, self.states = [], set(), []

    def __call__(self, turn):
        records = np.frombuffer(turn.batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE))
        self.indexes += records["index"].tolist()
        self.states.append(turn.state)
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def server():
    with Server(ttft_ms=2, itl_ms=0.5) as server:
        yield server


def test_a_session_runs_from_start_to_end(server):
    kept, made = Kept(), session(server.url, 20)
    assert made.state == "new"
    made.subscribe(kept)
    assert made.run() == made.state == "finished"
    assert sorted(kept.indexes) == list(range(20))
    assert kept.states[-1] == "finished"
    assert set(kept.states[:-1]) <= {"running"}
    assert kept.threads == {"vllmperf-session"}
    assert made.snapshot().completed == 20


def test_two_sessions_at_once_from_two_threads_and_a_third_one_stops_one_of_them(server):
    endless, short = session(server.url), session(server.url, 50)
    kept = {endless: Kept(), short: Kept()}
    stopped, states = threading.Event(), {}

    def run(made):
        made.subscribe(kept[made])
        states[made] = made.run()

    def stop():
        while endless.snapshot().done < 10:
            time.sleep(0.01)
        endless.stop()
        stopped.set()

    threads = [threading.Thread(target=run, args=[made]) for made in kept] + [threading.Thread(target=stop)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert stopped.is_set()
    assert states == {endless: "interrupted", short: "finished"}
    assert len(kept[short].indexes) == 50
    seen = sorted(kept[endless].indexes)
    assert seen == list(range(len(seen)))
    assert len(seen) >= 10
    assert endless.snapshot().in_flight == 0


def test_stopped_now_it_cuts_what_is_in_flight():
    with Server(ttft_ms=60_000) as server:
        made, kept = session(server.url, 100), Kept()
        made.subscribe(kept)
        made.start()
        while made.snapshot().in_flight < 2:
            assert not made.wait(0.01)
        made.stop(now=True)
        assert made.wait(60)
    assert sorted(kept.indexes) == [0, 1]
    assert made.snapshot().errors == {"incomplete": 2}


def test_what_a_session_left_running_at_the_end_of_its_block_is_cut():
    with Server(ttft_ms=60_000) as server, session(server.url, 100) as made:
        made.start()
    assert made.state == "interrupted"


def test_stopped_before_the_start_it_sends_nothing(server):
    with session(server.url, 5) as made:
        made.stop()
        assert made.run() == "interrupted"
    assert made.snapshot().sent == 0


def test_a_ctrl_c_that_comes_with_the_first_request_ends_the_run_gently(server, monkeypatch):
    start = Session.start

    def start_and_interrupt(made, at):
        start(made, at)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Session, "start", start_and_interrupt)
    try:
        state = session(server.url).run()
    except KeyboardInterrupt:  # it would end all tests
        state = "cut"
    assert state == "interrupted"


# ---- a start at a time ----


@pytest.mark.parametrize(
    "load", [{"max_concurrency": 2}, {"max_concurrency": None, "times_ns": [0, 5_000_000]}]
)
def test_a_start_at_a_time_begins_then_and_not_before(load, tmp_path):
    path = tmp_path / "truth"
    with Server(ttft_ms=1, itl_ms=1, truth=str(path)) as server:
        made, last = session(server.url, 2, warm_connections=2, **load), []
        made.subscribe(last.append)
        before, at = time.monotonic_ns(), time.time() + 1.0
        at_mono_ns = before + 1_000_000_000
        made.start(at)
        assert made.snapshot().state == "warming"
        assert made.wait(60)
    counters = last[-1].counters
    assert counters["start_real_ns"] >= round(at * 1e9) - 1_000_000
    assert counters["connections_opened"] == 2
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 2
    assert min(row["read_mono_ns"] for row in rows) >= at_mono_ns - 1_000_000


def test_a_time_that_has_passed_is_now(server):
    made, last = session(server.url, 3), []
    made.subscribe(last.append)
    began_ns = time.time_ns()
    made.start(at=time.time() - 3600)
    assert made.wait(60)
    assert last[-1].counters["start_real_ns"] >= began_ns - 1_000_000
    assert made.snapshot().completed == 3


@pytest.mark.parametrize("away_s", [1.5, 3600])
def test_while_it_waits_for_its_start_it_can_be_stopped(server, away_s):
    made = session(server.url, 3, warm_connections=1)
    made.start(at=time.time() + away_s)
    made.stop()
    assert made.wait(60)
    assert made.state == "interrupted"
    assert made.snapshot().sent == 0


@pytest.mark.parametrize("at", [-1, 1e10, 1e12, float("nan")])
def test_a_start_in_another_age_is_an_error(server, at):
    with session(server.url, 3) as made, pytest.raises(UsageError, match="since 1970"):
        made.start(at)


# ---- who fails ----


def test_a_failing_subscriber_ends_the_run_and_loses_nothing(server, tmp_path):
    def fail(turn):
        if turn.counters["done"] >= 10:
            raise RuntimeError("no more of this")

    made, before, after = session(server.url), Kept(), Kept()
    path = tmp_path / "run"
    with RunWriter(path, {}, {}) as writer:
        made.subscribe(before, fail, recorder(writer), after)
        with pytest.raises(RuntimeError, match="no more of this"):
            made.run()
    recording = read(path)
    assert recording.state == made.state == "interrupted"
    assert sorted(before.indexes) == sorted(after.indexes) == recording.requests["index"].tolist()
    assert len(before.indexes) == recording.counters["done"] >= 10
    assert before.states[-1] == after.states[-1] == "interrupted"


class FailsLater:
    n, is_timed, wait_s, ended = None, False, 0.01, False

    def __init__(self):
        self.turns = 0

    def more(self, turn):
        self.turns += 1
        if turn.counters["done"] >= 4:
            raise UsageError("the file ends within a line")
        yield Block([BODY] * 4)


def test_a_source_that_fails_later_ends_the_run_and_loses_nothing(server):
    plan = Plan.of(base_url=server.url, model="sim", max_concurrency=1)
    made = Session(engine_config(Task(plan), ["127.0.0.1"], Schedule(None, None)), FailsLater())
    kept = Kept()
    made.subscribe(kept)
    with pytest.raises(UsageError, match="within a line"):
        made.run()
    assert len(kept.indexes) == made.snapshot().done >= 4


def test_a_source_that_fails_at_once_fails_where_the_session_is_made(server):
    def nothing():
        raise UsageError("no such file")
        yield

    plan = Plan.of(base_url=server.url, model="sim")
    with pytest.raises(UsageError, match="no such file"):
        Session(
            engine_config(Task(plan), ["127.0.0.1"], Schedule(3, None)), Feeder(nothing(), Schedule(3, None))
        )


def test_who_has_enough_finishes_the_run(server):
    made, kept = session(server.url), Kept()
    made.subscribe(kept, lambda turn: turn.end() if turn.counters["done"] >= 5 else None)
    assert made.run() == "finished"
    assert len(kept.indexes) == made.snapshot().completed >= 5


# ---- threads, memory, one driver ----


def test_sessions_leave_no_thread_and_no_file_behind(server):
    def once():
        session(server.url, 4)
        session(server.url, 4).run()

    once()
    gc.collect()
    threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        once()
    gc.collect()
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) <= files


def test_a_snapshot_may_be_taken_at_any_time(server):
    made = session(server.url, 200)
    assert made.snapshot().done == 0
    made.start()
    seen = []
    while not made.wait(0.001):
        seen.append(made.snapshot().done)
    assert seen == sorted(seen)
    assert made.snapshot().done == 200


def test_the_session_alone_drives_the_engine_and_the_group_stands_for_several():
    package = Path(vllmperf.__file__).parent
    driving = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(word in path.read_text() for word in ("_engine.Engine(", "engine.drain("))
    ]
    assert sorted(driving) == ["loadgen/engine_group.py", "loadgen/session.py"]
