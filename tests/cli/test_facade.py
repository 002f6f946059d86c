"""`import vllmperf as vp`: what it offers, that its examples are true, and a run beside a loop of asyncio."""

import asyncio
import doctest
import inspect
import time

import pytest

import vllmperf as vp

FUNCTIONS = [name for name in vp.__all__ if inspect.isfunction(getattr(vp, name))]
SERVER = {"ttft_ms": 5, "itl_ms": 1}
ENDLESS = {"num_prompts": None, "duration": 60, "max_concurrency": 2, "output_len": 4}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_public_function_is_true(name):
    function = getattr(vp, name)
    tests = doctest.DocTestFinder(recurse=False).find(function, name)
    assert any(test.examples for test in tests), f"{name} shows no example"
    for test in tests:
        failures, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(
            test
        )
        assert failures == 0


def test_everything_public_has_a_docstring_and_a_home():
    for name in vp.__all__:
        assert inspect.getdoc(getattr(vp, name)), name
    assert set(vp.__all__) < set(dir(vp))


def test_a_run_can_be_awaited_beside_a_running_loop():
    async def work():
        return await asyncio.gather(
            *(vp.bench_async(sim=SERVER, num_prompts=n, output_len=4) for n in (3, 4))
        )

    assert [run.summary["requests"]["completed"] for run in asyncio.run(work())] == [3, 4]


def test_a_cancelled_run_ends_at_once_and_keeps_what_came(tmp_path):
    kept = tmp_path / "kept.vllmperf"

    async def work():
        came = asyncio.Event()
        loop = asyncio.get_running_loop()

        def progress(snapshot):
            if snapshot.completed:
                loop.call_soon_threadsafe(came.set)

        run = asyncio.create_task(vp.bench_async(sim=SERVER, record=kept, progress=progress, **ENDLESS))
        await came.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    began = time.monotonic()
    asyncio.run(work())
    assert time.monotonic() - began < 50  # of 60 s that it would have gone on
    assert vp.open_run(kept).summary["requests"]["completed"] > 0


def test_compare_takes_runs_and_files(tmp_path):
    run = vp.bench(sim=SERVER, num_prompts=3, output_len=4, max_concurrency=1)
    path = run.save(tmp_path / "a.vllmperf")
    assert vp.compare(run, path).to_dict()["figures"] == run.compare(vp.open_run(path)).to_dict()["figures"]


def test_a_simulated_server_that_was_not_started_is_refused():
    with pytest.raises(vp.errors.UsageError, match="start"):
        vp.bench(vp.sim.Server())
