"""`import vllmperf as vp`: what it offers, that its examples are true, and a run beside a loop of asyncio."""

import asyncio
import doctest
import inspect
import re
import subprocess
import sys
import time
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass

import pytest

import vllmperf as vp

NAMES = [name for name in vp.__all__ if not inspect.ismodule(getattr(vp, name))]
CLASSES = [name for name in NAMES if inspect.isclass(getattr(vp, name))]
TAKES_A_MINUTE = {"selftest"}
SERVER = {"ttft_ms": 5, "itl_ms": 1}
ENDLESS = {"num_prompts": None, "duration": 60, "max_concurrency": 2, "output_len": 4}


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_is_true(name):
    home = sys.modules[getattr(vp, name).__module__]
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(vp, name), name, globs=dict(vars(home)))
    skipped = [one for one in test.examples if one.options.get(doctest.SKIP)]
    assert len(test.examples) > len(skipped) or name in TAKES_A_MINUTE, f"{name} shows no example that runs"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.DocTestRunner(optionflags=flags).run(test).failed == 0


def members(kind):
    """Public methods and properties of a result."""
    for name, value in vars(kind).items():
        function = (
            getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", value)
        )
        if inspect.isfunction(function) and not name.startswith("_"):
            yield f"{kind.__name__}.{name}", function


def test_everything_public_has_a_docstring_and_a_home():
    for name in vp.__all__:
        assert inspect.getdoc(getattr(vp, name)), name
    assert set(vp.__all__) < set(dir(vp))
    methods = [one for name in CLASSES for one in members(getattr(vp, name))]
    methods += members(vp.sim.Server)
    assert [name for name, function in methods if not function.__doc__] == []


def test_no_public_signature_says_any():
    functions = [(name, getattr(vp, name)) for name in NAMES if name not in CLASSES]
    methods = [one for name in CLASSES for one in members(getattr(vp, name))]
    said = {
        name: str(inspect.signature(function))
        for name, function in (*functions, *methods, *members(vp.sim.Server))
    }
    for name in CLASSES:
        if is_dataclass(kind := getattr(vp, name)):
            said |= {f"{name}.{one.name}": str(one.type) for one in dataclass_fields(kind)}
    assert {name: text for name, text in said.items() if re.search(r"\bAny\b", text)} == {}


@pytest.mark.parametrize("name", CLASSES)
def test_a_result_shows_its_numbers_in_a_notebook_and_as_plain_values(name):
    kind = getattr(vp, name)
    assert kind.__repr__ is not object.__repr__
    assert hasattr(kind, "_repr_html_")
    assert hasattr(kind, "to_dict")


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: vp.bench(sim=True, max_concurency=8), "did you mean max_concurrency?"),
        (lambda: vp.stress(sim=True, num_promts=8), "did you mean num_prompts?"),
        (lambda: vp.fit("http://127.0.0.1:1", max_num_seq=8), "did you mean max_num_seqs?"),
        (lambda: vp.capacity("http://127.0.0.1:1", ttf=8), "did you mean ttft?"),
        (lambda: vp.size({}, inptu_len=8), "did you mean input_len?"),
        (lambda: vp.emit("p.json", "keda", max_num_seq=8), "did you mean max_num_seqs?"),
        (lambda: vp.parse_log("server.log", yaer=2026), "did you mean year?"),
        (lambda: vp.startup(comand="vllm serve MODEL"), "did you mean command?"),
        (lambda: vp.sweep({"setups": [{"name": "a", "simulator": {}}]}, repaet=3), "did you mean repeat?"),
        (lambda: vp.sim.Server(tft_ms=3), "did you mean ttft_ms"),
    ],
)
def test_a_misspelled_keyword_is_answered_with_the_nearest_one(call, hint):
    with pytest.raises(vp.errors.UsageError, match=re.escape(hint)):
        call()


def test_a_misspelled_function_is_answered_with_the_nearest_one():
    code = "import vllmperf; vllmperf.benhc"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Did you mean: 'bench'?" in done.stderr


def test_python_takes_the_flags_that_say_where_the_server_is_and_that_it_must_be_ready():
    with vp.sim.Server(**SERVER) as server:
        few = {"num_prompts": 2, "output_len": 2, "no_stream": True, "no_server_metrics": True}
        run = vp.bench(host="127.0.0.1", port=server.port, ready_check_timeout_sec="5s", **few)
        url = server.url
    assert run.plan.target.base_url == url
    assert run.plan.workload.stream is False
    with pytest.raises(vp.errors.TargetError):
        vp.bench(url, ready_check_timeout_sec=0.1)


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
