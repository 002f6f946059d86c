"""Runs from plan to run file, on the simulated server."""

import asyncio
import contextlib
import os
import re
import signal
import threading

import numpy as np
import pytest

import vllmperf
from vllmperf import api
from vllmperf.errors import TargetError, UsageError
from vllmperf.loadgen import run as running
from vllmperf.loadgen.interrupt import interruptible
from vllmperf.loadgen.progress import Snapshot
from vllmperf.loadgen.schedule import schedule
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan
from vllmperf.sim import Server

FAST = {"ttft_ms": 2, "itl_ms": 0.5}


def outcomes(run):
    return run.summary["requests"]["outcomes"]


def test_a_run_in_one_line_gives_its_numbers():
    run = vllmperf.bench(sim=FAST, num_prompts=30, concurrency=8, input_len=20, output_len=5)
    assert outcomes(run) == {"completed": 30}
    assert run.summary["tokens"] == {**run.summary["tokens"], "prompt": 600, "output": 150, "source": "usage"}
    assert run.summary["in_flight"]["max"] == 8
    assert run.summary["plan"]["model"] == "sim"
    assert run.summary["metrics"]["ttft_ms"]["mean"] >= 2


@pytest.mark.parametrize("backend", ["openai", "vllm", "openai-chat"])
@pytest.mark.parametrize("stream", [True, False])
def test_every_backend_completes_with_and_without_a_stream(backend, stream):
    run = vllmperf.bench(sim=FAST, num_prompts=5, output_len=4, backend=backend, stream=stream)
    assert outcomes(run) == {"completed": 5}
    assert run.summary["tokens"]["output"] == 20


def test_requests_of_a_rate_leave_at_their_times():
    run = vllmperf.bench(sim=FAST, rate=200, num_prompts=40, output_len=2, arrival="constant")
    recorded = run.recording.requests
    assert (recorded["scheduled_ns"] == np.arange(40) * 5_000_000).all()
    assert (recorded["sent_ns"] >= recorded["scheduled_ns"]).all()


def test_a_duration_ends_a_closed_loop(tmp_path):
    run = vllmperf.bench(
        sim=FAST, duration=0.5, concurrency=4, input_len=8, output_len=3, record=tmp_path / "r"
    )
    assert run.summary["requests"]["asked"] is None
    assert set(outcomes(run)) <= {"completed", "incomplete"}
    assert (run.recording.requests["sent_ns"] < 600_000_000).all()


def test_a_trace_is_followed_whole_when_no_number_is_given(tmp_path):
    (tmp_path / "times").write_text("5\n5.01\n5.1\n")
    run = vllmperf.bench(sim=FAST, arrival="trace", arrival_file=str(tmp_path / "times"), output_len=2)
    assert run.recording.requests["scheduled_ns"].tolist() == [0, 10_000_000, 100_000_000]


def test_warm_ups_are_sent_before_and_not_recorded():
    with Server(**FAST) as server:
        run = vllmperf.bench(url=server.url, num_prompts=4, output_len=2, num_warmups=3, concurrency=2)
        assert outcomes(run) == {"completed": 4}
        assert server.stats["requests"] >= 7


def test_progress_sees_the_run_grow():
    seen = []
    run = vllmperf.bench(
        sim={"ttft_ms": 100}, num_prompts=30, concurrency=5, output_len=3, progress=seen.append
    )
    assert all(isinstance(snapshot, Snapshot) for snapshot in seen)
    assert [snapshot.done for snapshot in seen] == sorted(snapshot.done for snapshot in seen)
    assert seen[-1].asked == 30
    assert any(snapshot.ttft_ms_p50 and snapshot.ttft_ms_p50 > 90 for snapshot in seen)
    assert run.summary["requests"]["completed"] == 30


def test_failures_are_counted_and_their_text_is_kept():
    run = vllmperf.bench(sim={**FAST, "faults": ["status:code=500@every=5"]}, num_prompts=20, output_len=2)
    assert outcomes(run) == {"completed": 16, "http_error": 4}
    assert run.summary["requests"]["samples"]["http_error"].startswith("HTTP 500")


def test_a_key_that_the_server_echoes_is_in_no_byte_of_the_run_file(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame-1234")
    path = tmp_path / "run"
    headers = {"X-Auth-Token": "sesame-5678"}
    vllmperf.bench(sim={**FAST, "faults": ["status:code=401"]}, num_prompts=2, record=path, headers=headers)
    assert b"sesame" not in path.read_bytes()


def test_what_cannot_start_leaves_no_run_file(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(TargetError):
        vllmperf.bench(url="http://nobody.invalid:8000", model="m", record=path)
    with pytest.raises(UsageError):
        vllmperf.bench(sim=FAST, dataset="custom", dataset_path=str(tmp_path / "none"), record=path)
    assert not path.exists()


def test_nobody_there_is_an_outcome_when_the_model_is_given(tmp_path):
    run = vllmperf.bench(url="http://127.0.0.1:9", model="m", num_prompts=3)
    assert outcomes(run) == {"refused": 3}


def test_a_run_file_that_is_not_there_is_refused_when_it_is_opened(tmp_path):
    with pytest.raises(UsageError, match="none"):
        vllmperf.open_run(tmp_path / "none")


def test_a_temporary_run_file_goes_with_its_run(tmp_path):
    run = vllmperf.bench(sim=FAST, num_prompts=2, output_len=2)
    path = run.path
    kept = run.save(tmp_path / "kept")
    assert path.exists()
    del run
    assert not path.exists()
    assert vllmperf.open_run(kept).summary["requests"]["completed"] == 2


@pytest.mark.parametrize("settings", [{}, {"url": "http://h", "sim": True}, {"sim": False}])
def test_a_target_is_given_once(settings):
    with pytest.raises(UsageError, match="give either base_url or simulator"):
        vllmperf.bench(**settings)


def test_no_simulator_is_no_second_target():
    with pytest.raises(TargetError):
        vllmperf.bench(url="http://127.0.0.1:9", sim=False)


def test_a_run_works_beside_an_asyncio_loop_and_in_another_thread():
    """The server of the first run is in the loop itself, which has to go on for it."""

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"(?i)content-length: *(\d+)", head)[1]))
        event = (
            b'data: {"choices": [{"index": 0, "text": "a", "finish_reason": "length"}]}\n\ndata: [DONE]\n\n'
        )
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + event
        )
        writer.close()

    async def inside():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        run = await asyncio.to_thread(vllmperf.bench, url, model="m", num_prompts=3, output_len=1)
        server.close()
        here = vllmperf.bench(sim=FAST, num_prompts=3, output_len=2)
        return run, here

    run, here = asyncio.run(inside())
    assert outcomes(run) == outcomes(here) == {"completed": 3}


# ---- Ctrl-C ----


@contextlib.contextmanager
def pressing(server, what, n, most=1000):
    """Ctrl-C in this process once so many are running or finished at the server, and again until the end."""
    over = threading.Event()

    def press():
        while server.stats[what] < n and not over.wait(0.005):
            pass
        for _ in range(most):
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGINT)
            over.wait(0.3)

    before = signal.signal(
        signal.SIGINT, lambda *_: None
    )  # for a Ctrl-C that comes when the run has just ended
    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_once_stops_sending_and_keeps_what_comes():
    with Server(ttft_ms=300, itl_ms=1) as server, pressing(server, "finished", 4, most=1):
        before = signal.getsignal(signal.SIGINT)
        run = vllmperf.bench(server.url, model="sim", num_prompts=1000, concurrency=4, output_len=5)
        assert signal.getsignal(signal.SIGINT) is before
    counts = outcomes(run)
    assert run.recording.state == "interrupted"
    assert counts["completed"] >= 4
    assert counts.get("incomplete", 0) == 0
    assert len(run.recording.requests) < 1000


def test_ctrl_c_twice_cuts_what_is_in_flight():
    with Server(ttft_ms=600_000) as server, pressing(server, "running", 4):
        run = vllmperf.bench(server.url, model="sim", num_prompts=100, concurrency=4)
    assert run.recording.state == "interrupted"
    assert outcomes(run) == {"incomplete": 4}


def test_ctrl_c_in_the_warm_up_ends_everything(tmp_path):
    wanted = {"num_prompts": 1, "num_warmups": 1, "record": tmp_path / "run"}
    with (
        Server(ttft_ms=600_000) as server,
        pressing(server, "running", 1),
        pytest.raises(KeyboardInterrupt),
    ):
        vllmperf.bench(server.url, model="sim", **wanted)
    assert not (tmp_path / "run").exists()


class Stops:
    def __init__(self):
        self.calls = []

    def stop(self, now=False):
        self.calls.append(now)


def test_other_threads_run_without_handlers():
    before = signal.getsignal(signal.SIGINT)
    inside = []

    def run():
        with interruptible(Stops()):
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == [before]


def test_the_first_signal_asks_and_the_next_ones_insist():
    stops = Stops()
    with interruptible(stops) as interrupts:
        assert not interrupts
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
    assert stops.calls == [False, True, True]
    assert interrupts.count == 3


# ---- the engine's view ----


def config(**settings):
    task = Task.of({"base_url": "https://h:1", **settings})
    return running.engine_config(task, ["127.0.0.1"], schedule(task.plan))


def test_without_a_stream_only_the_total_time_out_counts():
    assert config(stream=False, total_timeout=900)["first_token_timeout_ns"] == 900_000_000_000
    assert config(first_token_timeout=7)["first_token_timeout_ns"] == 7_000_000_000


def test_secrets_reach_the_engine_only_as_headers():
    made = config(api_key="sesame", headers={"X-Empty": ""})
    assert "Authorization: Bearer sesame" in made["headers"]
    assert "X-Empty;" in made["headers"]
    assert "sesame" not in str({**made, "headers": []})


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({}, 1000),
        ({"max_concurrency": 7}, 7),
        ({"request_rate": 10}, 116),
        ({"num_prompts": 50_000}, 10_000),
        ({"num_prompts": 20, "request_rate": 100, "warm_connections": 9}, 20),
    ],
)
def test_the_engine_is_sized_by_what_will_be_in_flight(settings, hint):
    plan = Plan.of(base_url="http://h", **settings)
    assert running.in_flight_hint(plan, schedule(plan)) == hint


@pytest.mark.parametrize(
    ("settings", "warm", "spare"),
    [
        ({"max_concurrency": 7}, 7, False),
        ({"max_concurrency": 7, "num_prompts": 5}, 5, False),
        ({"max_concurrency": 7, "num_prompts": None, "duration": 1}, 7, False),
        ({"num_prompts": 30}, 30, False),
        ({"max_concurrency": 7, "warm_connections": 0}, 0, False),
        ({"max_concurrency": 7, "fresh_connections": True}, 0, False),
        ({"request_rate": 10}, 0, True),
        ({"request_rate": 10, "max_concurrency": 7}, 0, True),
        ({"request_rate": 10, "warm_connections": 3}, 3, False),
        ({"request_rate": 10, "warm_connections": 0}, 0, False),
        ({"request_rate": 10, "fresh_connections": True}, 0, False),
    ],
)
def test_connections_are_opened_ahead_where_their_number_is_known_and_kept_spare_where_not(
    settings, warm, spare
):
    plan = Plan.of(base_url="http://h", **settings)
    when = schedule(plan)
    assert running.warm_connections(plan, when) == warm
    assert running.keeps_spare(plan, when) is spare


def test_the_simulator_of_a_plan_is_its_target():
    plan = Plan.of(simulator=FAST, num_prompts=2, output_len=2)
    assert outcomes(api.make_run(Task(plan.replace(seed=4)), None)) == {"completed": 2}
