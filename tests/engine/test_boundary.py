"""The engine's border with Python: odd arguments, several threads at once, times in any order."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from raw_server import RawServer
from runs import config, drain, feed, records_of, run_engine

from vllmperf import _engine
from vllmperf.sim import Server

BODY = json.dumps({"model": "sim", "prompt": [1, 2, 3], "max_tokens": 5, "stream": True}).encode()
CONFIG = config()
NUMBERS = [name for name, value in CONFIG.items() if type(value) is int]
FLAGS = [name for name, value in CONFIG.items() if type(value) is bool]
TEXTS = [name for name, value in CONFIG.items() if type(value) is str]
LISTS = [name for name, value in CONFIG.items() if type(value) is list]
YEARS_30 = 10**18


def for_server(server: Server | RawServer, **changes):
    urls = {"url": server.url + "/v1/completions", "warm_url": server.url + "/health"}
    return config(**{**urls, "headers": ["Content-Type: application/json"], **changes})


# ---- the configuration ----


def test_the_lists_of_keys_here_are_whole():
    assert len(NUMBERS) + len(FLAGS) + len(TEXTS) + len(LISTS) == len(CONFIG)


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_that_is_none_or_is_out_of_range_is_refused_by_name(key):
    for value in ("1", 1.0, None, b"1", [1], 1j):
        with pytest.raises(TypeError, match=key):
            _engine.Engine({**CONFIG, key: value})
    for value in (-1, -(2**63), -(2**70)):
        with pytest.raises(ValueError, match=key):
            _engine.Engine({**CONFIG, key: value})
    with pytest.raises(OverflowError, match=key):
        _engine.Engine({**CONFIG, key: 2**70})


@pytest.mark.parametrize("key", [key for key in NUMBERS if key.endswith("_ns")])
def test_a_time_of_thirty_years_is_taken_and_a_longer_one_refused(key):
    _engine.Engine({**CONFIG, key: YEARS_30}).close()
    with pytest.raises(OverflowError, match=key):
        _engine.Engine({**CONFIG, key: YEARS_30 + 1})


@pytest.mark.parametrize(
    ("key", "most"), [("threads", 1024), ("multis", 4096), ("warm_connections", 1 << 24)]
)
def test_what_no_machine_could_carry_is_refused(key, most):
    with pytest.raises(OverflowError, match=f"'{key}' must be at most {most}"):
        _engine.Engine({**CONFIG, key: most + 1})


@pytest.mark.parametrize("key", TEXTS + LISTS)
def test_a_text_that_is_none_is_refused_by_name(key):
    for value in (5, None, b"text", ["a", 5]):
        with pytest.raises(TypeError, match=key):
            _engine.Engine({**CONFIG, key: value})


@pytest.mark.parametrize("key", TEXTS + LISTS)
@pytest.mark.parametrize("bad", ["a\0b", "a\r\nX: b", "a\nb", "\ud800"])
def test_a_text_that_http_or_c_would_cut_is_refused(key, bad):
    with pytest.raises(ValueError, match=None if bad == "\ud800" else key):
        _engine.Engine({**CONFIG, key: [bad] if key in LISTS else bad})


@pytest.mark.parametrize("wrong", [None, [], "x", [("url", 1)]])
def test_a_configuration_that_is_no_dict_is_refused(wrong):
    with pytest.raises(TypeError):
        _engine.Engine(wrong)


@pytest.mark.parametrize("key", ["unknown", 5, None, b"url", "url\0", "\ud800"])
def test_a_key_that_nobody_knows_is_named(key):
    with pytest.raises(ValueError, match=r"keys|surrogates"):
        _engine.Engine({**CONFIG, key: 1})


def test_numbers_of_numpy_are_numbers():
    _engine.Engine({**CONFIG, "max_concurrency": np.int64(3), "threads": np.uint8(1)}).close()


def test_a_value_whose_truth_raises_is_no_configuration():
    class Odd:
        def __bool__(self):
            raise ArithmeticError("odd")

    for key in FLAGS:
        with pytest.raises(ArithmeticError):
            _engine.Engine({**CONFIG, key: Odd()})


def test_a_value_that_empties_the_configuration_does_not_take_its_texts_away():
    class Thief:
        def __bool__(self):
            changed.clear()
            return False

        def __index__(self):
            changed.clear()
            return 1

    for key in (*FLAGS, *NUMBERS):
        changed = {**config(url="http://127.0.0.1:1/" + "x" * 3000), key: Thief()}
        _engine.Engine(changed).close()
        assert not changed


# ---- feed ----


@pytest.mark.parametrize("at", [[YEARS_30 + 1], [-YEARS_30 - 1], [_engine.NONE], [2**63 - 1]])
def test_times_that_would_overflow_are_refused(at):
    with contextlib.closing(_engine.Engine(config())) as engine:
        with pytest.raises(ValueError, match="30 years"):
            feed(engine, 1, at_ns=at)
        assert engine.counters()["backlog"] == 0


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint64, ">i8", "datetime64[ns]", complex])
def test_arrays_of_other_numbers_are_not_read_as_int64(dtype):
    offsets, times = np.array([0, 1], np.int64), np.array([5], np.int64)
    with contextlib.closing(_engine.Engine(config())) as engine:
        with pytest.raises((ValueError, BufferError), match=r"offsets|buffer"):
            engine.feed(b"a", offsets.astype(dtype))
        with pytest.raises((ValueError, BufferError), match=r"at_ns|buffer"):
            engine.feed(b"a", offsets, times.astype(dtype))
        engine.feed(b"a", offsets, times)
        engine.feed(b"a", offsets.tobytes(), bytearray(times.tobytes()))
        engine.feed(b"a", memoryview(b"x" + offsets.tobytes())[1:], memoryview(times))  # not aligned
        assert engine.counters()["backlog"] == 3


def test_a_buffer_that_closes_the_engine_is_no_use_after_free():
    code = """if True:
        import sys
        from vllmperf import _engine
        from vllmperf.loadgen.run import engine_config
        from vllmperf.loadgen.schedule import schedule
        from vllmperf.loadgen.task import Task
        from vllmperf.plan import Plan
        plan = Plan.of(base_url="http://127.0.0.1:1", model="m", max_concurrency=4, num_prompts=4)
        engine = _engine.Engine(engine_config(Task(plan), ["127.0.0.1"], schedule(plan)))
        class Odd(float):
            def __float__(self): engine.close(); return 0.0
            def __bool__(self): engine.close(); return True
            def __buffer__(self, flags): engine.close(); return memoryview(bytes(16))
        for use in (lambda: engine.drain(Odd()), lambda: engine.stop(Odd()), lambda: engine.feed(b"", Odd())):
            try: use()
            except (RuntimeError, TypeError) as error: print(type(error).__name__)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 2


def test_offsets_that_another_thread_writes_cannot_reach_beyond_the_bodies():
    code = """if True:
        import threading, numpy as np
        from vllmperf import _engine
        from vllmperf.loadgen.run import engine_config
        from vllmperf.loadgen.schedule import schedule
        from vllmperf.loadgen.task import Task
        from vllmperf.plan import Plan
        plan = Plan.of(base_url="http://127.0.0.1:1", model="m", max_concurrency=4, num_prompts=4)
        good = np.arange(200_001, dtype=np.int64)
        shared, wild = good.copy(), good * 10**12
        over = False
        def write():
            while not over:
                np.copyto(shared, wild); np.copyto(shared, good)
        thread = threading.Thread(target=write); thread.start()
        taken = 0
        for _ in range(40):
            engine = _engine.Engine(engine_config(Task(plan), ["127.0.0.1"], schedule(plan)))
            try: engine.feed(b"a" * 200_000, shared); taken += 1
            except ValueError: pass
            engine.close()
        over = True; thread.join(); print("survived")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "survived", done.stderr


# ---- drain and stop ----


@pytest.mark.parametrize("timeout", [0, -1, -0.0, float("nan"), float("-inf"), 1e-300, True, np.float32(0)])
def test_a_timeout_that_is_no_time_is_none(timeout):
    with contextlib.closing(_engine.Engine(config())) as engine:
        assert engine.drain(timeout)["records"] == b""


@pytest.mark.parametrize("timeout", ["1", None, 1j, [1], b"1"])
def test_a_timeout_that_is_no_number_is_refused(timeout):
    with contextlib.closing(_engine.Engine(config())) as engine, pytest.raises(TypeError):
        engine.drain(timeout)


@pytest.mark.parametrize("timeout", [1e300, float("inf"), 10**300])
def test_the_longest_wait_ends_with_the_run(timeout):
    engine = _engine.Engine(config())
    engine.feed_end()
    engine.start()
    with contextlib.closing(engine):
        while engine.drain(timeout) is not None:
            pass


def test_a_long_drain_gives_way_to_a_signal():
    def raise_it(*_):
        raise InterruptedError("told to")

    before = signal.signal(signal.SIGUSR1, raise_it)
    try:
        with contextlib.closing(_engine.Engine(config())) as engine:
            threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGUSR1]).start()
            with pytest.raises(InterruptedError, match="told to"):
                engine.drain(600)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_handler_that_closes_the_engine_under_a_drain_is_told_that_it_cannot():
    engine = _engine.Engine(config())
    before = signal.signal(signal.SIGUSR1, lambda *_: engine.close())
    try:
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGUSR1]).start()
        with pytest.raises(RuntimeError, match="another thread drains"):
            engine.drain(600)
    finally:
        signal.signal(signal.SIGUSR1, before)
        engine.close()


# ---- times in any order ----


def test_requests_leave_in_the_order_of_their_times_not_of_the_feed():
    due_ms = [90, 10, 50, 10, 70, 30]
    with Server(ttft_ms=1, itl_ms=0.1) as server:
        records, _ = run_engine(
            for_server(server, max_concurrency=0), 6, BODY, at_ns=[ms * 1_000_000 for ms in due_ms]
        )
    assert records["scheduled_ns"].tolist() == [ms * 1_000_000 for ms in due_ms]
    assert np.all(records["sent_ns"] >= records["scheduled_ns"])
    assert records["index"][np.argsort(records["sent_ns"])].tolist() == [1, 3, 5, 2, 4, 0]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_earlier_feed_does_not_hold_up_a_later_one_that_is_due_before_it(threads):
    bodies = [BODY + b" " * i for i in range(40)]
    late, early = list(range(0, 40, 2)), list(range(1, 40, 2))
    with Server(ttft_ms=1, itl_ms=0.1) as server:
        settings = for_server(server, max_concurrency=0, threads=threads)
        with contextlib.closing(_engine.Engine(settings)) as engine:
            for numbers, after_ms in ((late, 200), (early, 20)):
                block = [bodies[i] for i in numbers]
                offsets = np.cumsum([0, *map(len, block)]).astype(np.int64)
                engine.feed(b"".join(block), offsets, np.arange(20, dtype=np.int64) + after_ms * 1_000_000)
            engine.feed_end()
            engine.start()
            records = np.sort(records_of(drain(engine)), order="index")
    assert len(records) == 40
    assert records["sent_ns"][:20].min() >= 200_000_000
    for thread in set(records["thread"].tolist()):
        mine = records[records["thread"] == thread]
        is_late = mine["index"][np.argsort(mine["sent_ns"], kind="stable")] < 20
        assert is_late.tolist() == sorted(is_late)
    assert records["bytes_sent"].tolist() == [len(bodies[i]) for i in late + early]  # each with its own body


def test_an_earlier_time_that_is_fed_while_the_engine_sleeps_is_kept():
    with Server(ttft_ms=1, itl_ms=0.1) as server:
        settings = for_server(server, max_concurrency=0)
        with contextlib.closing(_engine.Engine(settings)) as engine:
            feed(engine, 1, BODY, at_ns=[600_000_000_000])
            engine.start()
            engine.drain(0.05)
            feed(engine, 1, BODY, at_ns=[100_000_000])
            engine.feed_end()
            while not (finished := records_of([engine.drain(0.05)])["index"].tolist()):
                pass  # it is answered long before the other is due
            engine.stop(now=True)
            drain(engine)
    assert finished == [1]


# ---- several threads ----


def hammer(jobs, seconds):
    """Call each job over and over on a thread of its own. Gives what they raised, but RuntimeError."""
    until, raised = time.monotonic() + seconds, []

    def repeat(job):
        while time.monotonic() < until:
            try:
                job()
            except RuntimeError:
                pass
            except BaseException as error:
                raised.append(error)
                return

    threads = [threading.Thread(target=repeat, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return raised


@pytest.mark.parametrize("threads", [1, 3])
def test_every_method_may_be_called_by_several_threads_at_once(threads):
    batches = []
    offsets = np.arange(9, dtype=np.int64) * len(BODY)
    with Server(ttft_ms=0.1, itl_ms=0.1) as server:
        engine = _engine.Engine(for_server(server, threads=threads, max_concurrency=6))
        engine.start()
        fed = []

        def give():
            if len(fed) < 200:
                engine.feed(BODY * 8, offsets)
                fed.append(8)
            time.sleep(0.001)

        def take():
            batches.append(engine.drain(0.01))

        jobs = [give, give, take, take, engine.counters, engine.histograms, engine.start, engine.close]
        assert hammer(jobs, 1.0) == []
        with contextlib.suppress(RuntimeError):  # close() may have won
            engine.feed_end()
            engine.stop()
            batches += drain(engine)
            counters = engine.counters()
            records = records_of([batch for batch in batches if batch])
            assert counters["lost"] == 0
            assert len(records) == counters["done"] == counters["sent"]
            assert len(set(records["index"].tolist())) == len(records)
        engine.close()


def test_feeds_of_several_threads_are_all_sent_once():
    offsets = np.arange(6, dtype=np.int64) * len(BODY)
    with (
        Server(ttft_ms=0.1, itl_ms=0.1) as server,
        contextlib.closing(_engine.Engine(for_server(server, max_concurrency=8))) as engine,
    ):
        engine.start()

        def give():
            for _ in range(20):
                engine.feed(BODY * 5, offsets)

        feeders = [threading.Thread(target=give) for _ in range(4)]
        for thread in feeders:
            thread.start()
        for thread in feeders:
            thread.join(30)
        engine.feed_end()
        records = records_of(drain(engine))
    assert sorted(records["index"].tolist()) == list(range(400))


def test_stop_and_close_from_other_threads_end_a_drain():
    for _ in range(20):
        with Server(ttft_ms=1, itl_ms=20) as server:
            engine = _engine.Engine(for_server(server))
            feed(engine, 30, BODY)
            engine.start()
            drainer = threading.Thread(target=drain, args=[engine])
            stopper = threading.Thread(target=engine.stop, kwargs={"now": True})
            drainer.start()
            stopper.start()
            stopper.join(10)
            drainer.join(10)
            assert not drainer.is_alive()
            engine.close()


def test_an_engine_that_a_thread_drops_is_freed_there():
    with Server(ttft_ms=1, itl_ms=20) as server:

        def use():
            engine = _engine.Engine(for_server(server))
            feed(engine, 10, BODY)
            engine.start()
            engine.drain(0.01)

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()


# ---- leaks ----


def blocks_after(job, times):
    for _ in range(times):
        job()
    gc.collect()
    return sys.getallocatedblocks()


def test_refused_arguments_leave_nothing_behind():
    class Watched(dict):
        pass

    seen = []

    def job():
        for changes in (
            {"threads": -1},
            {"threads": 2**70},
            {"url": 5},
            {"url": "a\0b"},
            {"headers": ["a", 5]},
            {"addresses": None},
            {"unknown": 1},
        ):
            given = Watched({**CONFIG, **changes})
            seen.append(weakref.ref(given))
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                _engine.Engine(given)
        with contextlib.closing(_engine.Engine(config())) as engine:
            for arguments in (
                (b"a", b"123"),
                (b"a", np.array([0, 5])),
                (b"a", np.array([0, 1]), np.array([0, 1])),
                (b"a", np.array([0.0, 1.0])),
                (b"a", np.array([0, 1]), np.array([2**62])),
                (5, 5, 5),
            ):
                with contextlib.suppress(ValueError, TypeError):
                    engine.feed(*arguments)
            engine.histograms()
            engine.counters()
            engine.drain(0)

    before = blocks_after(job, 5)
    seen.clear()
    after = blocks_after(job, 50)
    assert all(reference() is None for reference in seen)
    seen.clear()
    gc.collect()
    assert after - before < 1500  # 350 weak references are among them
    assert blocks_after(lambda: None, 1) - before < 100


# ---- cores ----


def test_cores_and_threads_follow_the_cpu_affinity():
    code = """if True:
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from vllmperf import _engine
        from vllmperf.loadgen.run import engine_config
        from vllmperf.loadgen.schedule import schedule
        from vllmperf.loadgen.task import Task
        from vllmperf.plan import Plan
        plan = Plan.of(base_url="http://127.0.0.1:1", model="m", max_concurrency=9999, num_prompts=9999)
        engine = _engine.Engine(engine_config(Task(plan), ["127.0.0.1"], schedule(plan)))
        print(_engine.usable_cores(), engine.counters()["threads"])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1", "1"], done.stderr
    assert 1 <= _engine.usable_cores() <= len(os.sched_getaffinity(0))
