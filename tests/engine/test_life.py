"""An engine's life: wrong use, forks, sub-interpreters, leaks, and the end of a run."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from raw_server import RawServer, good
from runs import BODY, bench, config, config_of, drain, feed, outcomes, records_of, run_engine

from vllmperf import _engine
from vllmperf.sim import Server

KEY = "sk-never-to-be-seen-4711"


def python(code: str, *arguments: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        **more,
    )


# ---- wrong use ----


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"unknown": 1}, ValueError, "keys"),
        ({"threads": -1}, ValueError, "threads"),
        ({"grace_ns": "soon"}, TypeError, None),
        ({"spin_ns": 2**70}, OverflowError, None),
        ({"url": 5}, TypeError, None),
        ({"addresses": "127.0.0.1"}, TypeError, "addresses"),
        ({"headers": [b"a: b"]}, TypeError, None),
    ],
)
def test_a_wrong_configuration_is_refused(change, error, says):
    with pytest.raises(error, match=says):
        _engine.Engine({**config(), **change})


OPTIONAL = {
    "no_request_ids",
    "uuid_request_ids",
    "follow_redirects",
    "spare_connections",
    "use_libcurl",
    "capath",
}


def test_every_key_of_the_configuration_is_needed():
    full = config()
    for key in full.keys() - OPTIONAL:
        with pytest.raises(ValueError, match=key):
            _engine.Engine({name: value for name, value in full.items() if name != key})


@pytest.mark.parametrize(
    ("offsets", "times"),
    [
        ([], None),
        ([1, 2], None),
        ([0, 3], None),
        ([0, 2, 1], None),
        ([0, -1, 2], None),
        ([0, 2**62], None),
        ([0, 1, 2], [0]),
        ([0, 1], [0, 0]),
    ],
)
def test_wrong_offsets_are_refused_and_change_nothing(offsets, times):
    with contextlib.closing(_engine.Engine(config())) as engine:
        at_ns = None if times is None else np.array(times, np.int64)
        with pytest.raises(ValueError, match="offsets"):
            engine.feed(b"ab", np.array(offsets, np.int64), at_ns)
        assert engine.counters()["backlog"] == 0


def test_odd_buffers_are_refused():
    with contextlib.closing(_engine.Engine(config())) as engine:
        for wrong in (b"123", np.arange(10, dtype=np.int64)[::2]):
            with pytest.raises((ValueError, BufferError)):
                engine.feed(b"ab", wrong)
        with pytest.raises(TypeError):
            engine.feed("text", np.zeros(1, np.int64))


def test_times_for_some_only_are_refused():
    with contextlib.closing(_engine.Engine(config())) as engine:
        feed(engine, 2, at_ns=[0, 1])
        with pytest.raises(ValueError, match="at_ns"):
            feed(engine, 2)
        feed(engine, 0)


def test_closing_twice_is_fine_and_everything_else_is_an_error():
    engine = _engine.Engine(config())
    engine.close()
    engine.close()
    for use in (engine.start, engine.stop, engine.feed_end, engine.counters, engine.histograms):
        with pytest.raises(RuntimeError, match="closed"):
            use()
    with pytest.raises(RuntimeError, match="closed"):
        engine.drain(0)


def test_starting_twice_is_an_error():
    with contextlib.closing(_engine.Engine(config())) as engine:
        engine.start()
        with pytest.raises(RuntimeError, match="started"):
            engine.start()


@pytest.mark.parametrize("now", [False, True])
def test_stopped_before_the_start_it_sends_nothing(now):
    with Server() as server, contextlib.closing(_engine.Engine(config_of(server))) as engine:
        feed(engine, 3, BODY)
        engine.stop(now=now)
        engine.start()
        assert len(records_of(drain(engine))) == engine.counters()["sent"]
        assert engine.counters()["state"] == "ended"


def test_dropped_in_the_middle_of_a_run():
    with Server(ttft_ms=1, itl_ms=100) as server:
        engine = _engine.Engine(config_of(server))
        feed(engine, 50, BODY)
        engine.start()
        assert engine.drain(0.05) is not None
        del engine


def test_it_cannot_be_closed_under_a_thread_that_drains():
    with Server(ttft_ms=1, itl_ms=50) as server:
        engine = _engine.Engine(config_of(server))
        feed(engine, 50, BODY)
        engine.start()
        thread = threading.Thread(target=drain, args=[engine])
        thread.start()
        time.sleep(0.1)
        with pytest.raises(RuntimeError, match="another thread"):
            engine.close()
        engine.stop(now=True)
        thread.join(10)
        assert not thread.is_alive()
        engine.close()


def test_times_are_kept_when_fed_during_the_run():
    with Server(ttft_ms=1, itl_ms=0.1) as server:
        settings = config_of(server, max_concurrency=0)
        with contextlib.closing(_engine.Engine(settings)) as engine:
            engine.start()
            engine.drain(0.05)
            feed(engine, 2, BODY, at_ns=[100_000_000, 150_000_000])
            engine.drain(0.01)
            feed(engine, 1, BODY, at_ns=[200_000_000])
            engine.feed_end()
            records = np.sort(records_of(drain(engine)), order="index")
    assert records["index"].tolist() == [0, 1, 2]
    assert records["scheduled_ns"].tolist() == [100_000_000, 150_000_000, 200_000_000]
    assert np.all(records["sent_ns"] >= records["scheduled_ns"])


# ---- other processes and interpreters ----


FORK = """
import os, sys, vllmperf
from vllmperf.loadgen.session import Session
def in_child(snapshot, seen=[]):
    if seen or not snapshot.done: return
    seen.append(1)
    session = next(s for f in frames() if isinstance(s := f.f_locals.get("session"), Session))
    engine = session._engine
    r, w = os.pipe()
    child = os.fork()
    if child == 0:
        said = ""
        for use in (engine.counters, lambda: engine.drain(0), engine.stop, engine.feed_end):
            try: use(); said += "nothing;"
            except RuntimeError as e: said += str(e).split(":")[0] + ";"
        engine.close()
        os.write(w, said.encode()); os._exit(0)
    os.close(w)
    print(os.read(r, 10000).decode()); print(os.waitpid(child, 0)[1])
def frames():
    f = sys._getframe()
    while f: yield f; f = f.f_back
run = vllmperf.bench(sim={"ttft_ms": 5, "itl_ms": 5}, num_prompts=200, concurrency=4, input_len=4, output_len=5,
    progress=in_child)
print(run.summary["requests"]["outcomes"])
"""


def test_a_fork_during_a_run_gets_a_clear_error_and_the_parent_goes_on():
    done = python(FORK)
    lines = done.stdout.splitlines()
    assert lines[0].count("this engine belongs to the parent process") == 4, done.stderr
    assert lines[1:] == ["0", "{'completed': 200}"]


SUB_INTERPRETER = """
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
import vllmperf._engine
name = interpreters.create()
code = '''
import sys
try: import vllmperf._engine; print("imported")
except ImportError as error: print("ImportError", error)
sys.stdout.flush()
'''
interpreters.run_string(name, code)
interpreters.destroy(name)
print(vllmperf._engine.quantile.__name__)
"""


def test_a_sub_interpreter_gets_an_import_error():
    done = python(SUB_INTERPRETER)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].startswith("ImportError")
    assert "sub-interpreter" in lines[0]
    assert lines[1:] == ["quantile"]


# ---- leaks ----


def resident_kib() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_runs_leave_nothing_behind():
    def once(server):
        records, _ = run_engine(config_of(server, keep_text=True, keep_stamps=True), 20, BODY)
        assert len(records) == 20
        broken = _engine.Engine(config_of(server))
        feed(broken, 5, BODY)
        broken.start()
        broken.close()
        with contextlib.suppress(ValueError):
            _engine.Engine(config(unknown=1))

    with Server(ttft_ms=0.1, itl_ms=0.1) as server:
        for _ in range(10):
            once(server)
        gc.collect()
        blocks, kib, files, threads = (
            sys.getallocatedblocks(),
            resident_kib(),
            open_files(),
            threading.active_count(),
        )
        for _ in range(30):
            once(server)
        gc.collect()
        assert sys.getallocatedblocks() - blocks < 200
        assert resident_kib() - kib < 4096
        assert open_files() <= files
        assert threading.active_count() == threads


# ---- secrets ----


def test_the_key_reaches_the_server_and_nothing_else(tmp_path):
    def leaks_it(connection: socket.socket, request: bytes, number: int) -> None:
        if number == 1:
            good(connection, request, number)
            return
        body = b'{"error": "bad key ' + KEY.encode() + b'"}'
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    record, csv = tmp_path / "run", tmp_path / "csv"
    words = ["--model", "m", "--num-prompts", "6", "--max-concurrency", "2", "--input-len", "4"]
    files = ["--record", str(record), "--csv", str(csv), "--save-detailed", "--result-dir", str(tmp_path)]
    with RawServer(leaks_it) as server:
        done = [
            subprocess.run(
                [sys.executable, "-m", "vllmperf", "bench", "--base-url", server.url, *words, *more],
                env={**os.environ, "OPENAI_API_KEY": KEY},
                capture_output=True,
                timeout=60,
            )
            for more in (files, ["--json"])
        ]
        assert all(b"Authorization: Bearer " + KEY.encode() in request for request in server.requests)
    written = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(written) == 3
    for text in [*written, *(d.stdout + d.stderr for d in done)]:
        assert KEY.encode() not in text
    assert all(d.returncode in (0, 1) for d in done)


# ---- the end of a run ----


def start_cli(tmp_path, url):
    words = [
        "--num-prompts",
        "100000",
        "--max-concurrency",
        "4",
        "--input-len",
        "4",
        "--record",
        str(tmp_path / "run"),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "vllmperf", "bench", "--base-url", url, "--model", "sim", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(server, what, n, process):
    while server.stats[what] < n:
        assert process.poll() is None
        time.sleep(0.02)


def test_ctrl_c_twice_ends_at_once_and_keeps_everything(tmp_path):
    with Server(ttft_ms=20, itl_ms=600_000) as server:
        process = start_cli(tmp_path, server.url)
        wait_for(server, "running", 4, process)
        process.send_signal(signal.SIGINT)
        time.sleep(2)  # two signals at once would be one
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "incomplete" in out
    assert "Traceback" not in err
    from vllmperf import open_run

    assert outcomes(open_run(tmp_path / "run")) == {"incomplete": 4}


def test_sigterm_ends_a_run_like_ctrl_c(tmp_path):
    with Server(ttft_ms=20, itl_ms=1) as server:
        process = start_cli(tmp_path, server.url)
        wait_for(server, "finished", 4, process)
        process.terminate()
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_thread_with_a_free_slot_takes_whatever_is_next():
    """One request that hangs holds up its own slot, not every second request: it is answered after all others."""
    first, answered = threading.Lock(), threading.Semaphore(0)

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        hangs = first.acquire(blocking=False)
        if hangs and not all(answered.acquire(timeout=60) for _ in range(20)):
            raise ConnectionAbortedError
        good(connection, request, number)
        answered.release()

    with RawServer(answer) as server:
        run = bench(server.url, n=21, concurrency=2, threads=2)
    assert outcomes(run) == {"completed": 21}
    assert set(run.recording.requests["thread"].tolist()) == {0, 1}


@pytest.mark.parametrize(
    "load", [{"concurrency": 5}, {"concurrency": None, "rate": 500}, {"concurrency": None}]
)
def test_several_threads_send_each_request_once(load):
    run = bench(n=90, threads=3, **load)
    assert outcomes(run) == {"completed": 90}
    assert run.recording.requests["index"].tolist() == list(range(90))
    assert run.summary["in_flight"]["max"] <= (load.get("concurrency") or 90)
    found = set(run.recording.requests["thread"].tolist())
    assert found <= {0, 1, 2}
    if load["concurrency"] is None:
        assert found == {0, 1, 2}


def test_warm_connections_to_nobody_do_not_hold_the_run_up():
    run = bench("http://127.0.0.1:9", n=4, warm_connections=4)
    assert outcomes(run) == {"refused": 4}
