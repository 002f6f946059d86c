"""The batching engine in virtual time: the same as over HTTP, the law, and what must hold of any load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batching import LAW, law_ns, serve
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.scheduler import Engine, Request

from vllmperf.errors import UsageError
from vllmperf.sim.config import BY_NAME, checked
from vllmperf.sim.replay import Replay, replay


def poisson(rate_per_s: float, n: int, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate_per_s, n))


def mean_batch(run: Replay) -> float:
    """Decoding sequences, mean over time."""
    span = run.steps["end_ns"] - run.steps["start_ns"]
    return float((run.steps["decodes"] * span).sum() / span.sum())


def test_it_does_the_same_steps_as_the_server(tmp_path: Path) -> None:
    engine = {
        "max_num_seqs": 5,
        "block_size": 8,
        "num_gpu_blocks": 30,
        "max_model_len": 120,
        "step_noise": 0.1,
    }
    bodies = [
        {"prompt": list(range(1000 * i, 1000 * i + 20 + 3 * i)), "max_tokens": 5 + 7 * i % 40}
        for i in range(12)
    ]
    truth, _ = serve(tmp_path / "truth", bodies, **engine, enable_prefix_caching=False)
    rows = sorted(truth.requests, key=lambda row: (row["queued_mono_ns"], row["number"]))
    begin = rows[0]["queued_mono_ns"]
    run = replay(
        [row["prompt_tokens"] for row in rows],
        [row["completion_tokens"] for row in rows],
        arrival_s=[(row["queued_mono_ns"] - begin) / 1e9 for row in rows],
        **LAW,
        **engine,
        enable_prefix_caching=False,
    )
    assert run.n_steps == len(truth.steps)
    for name in ("start", "end"):
        there = [step[f"{name}_mono_ns"] - begin for step in truth.steps]
        assert run.steps[f"{name}_ns"].tolist() == there
    for name in ("decodes", "prefill_tokens", "running", "waiting", "admitted", "preempted", "used_blocks"):
        assert run.steps[name].tolist() == [step[name] for step in truth.steps]
    assert run.requests["preemptions"].tolist() == [row["preemptions"] for row in rows]
    firsts = [row["planned_mono_ns"][0] - begin for row in rows]
    assert run.requests["first_token_ns"].tolist() == firsts


def test_one_request_alone_has_the_times_of_the_law() -> None:
    run = replay(100, 5, arrival_s=1.0, alpha_ms=10, beta_ms=1, gamma_ms=2, delta_ms=0.1, front_ms=3)
    assert run.ttft_ms.tolist() == [3 + 10 + 2 + 100 * 0.1]
    assert run.tpot_ms.tolist() == [11]
    assert run.queue_ms.tolist() == [3]
    assert run.duration_s == pytest.approx(1.025 + 4 * 0.011)
    assert np.isnan(replay(100, 1, arrival_s=1.0).tpot_ms).all()


def test_steps_of_a_replay_follow_the_law() -> None:
    run = replay(200, 30, arrival_s=poisson(20, 300), max_num_seqs=16, graph_sizes=[4, 8], **LAW)
    wanted = [law_ns({name: row[name] for name in run.steps.dtype.names}) for row in run.steps]
    assert run.steps["end_ns"] - run.steps["start_ns"] == pytest.approx(wanted, abs=1)


def test_a_closed_loop_in_lockstep_gives_the_documents_throughput() -> None:
    """Sets A of a known law: 64 streams at once serve 56.586 requests/s, all in lockstep."""
    law = {"alpha_ms": 6.973, "beta_ms": 0.027, "gamma_ms": 7.852, "delta_ms": 0.00136409}
    run = replay(
        np.full(6400, 128), 128, concurrency=64, max_num_seqs=64, max_num_batched_tokens=2**20, **law
    )
    assert 6400 / run.duration_s == pytest.approx(56.586, abs=0.001)


@pytest.mark.parametrize(
    ("rate", "batch", "itl_ms", "ttft_ms"),
    [(17.094, 16.16, 7.4590, 19.177), (28.491, 28.16, 7.8000, 19.684), (39.887, 41.30, 8.1732, 20.289)],
)
def test_open_loads_agree_with_an_independent_simulation(
    rate: float, batch: float, itl_ms: float, ttft_ms: float
) -> None:
    """Of the same law (gamma outside the engine, 128/128, 64 places), by other code and other arrivals."""
    law = {"alpha_ms": 6.973, "beta_ms": 0.027, "delta_ms": 0.00136409, "front_ms": 7.852}
    run = replay(
        128, 128, arrival_s=poisson(rate, 20_000), max_num_seqs=64, enable_prefix_caching=False, **law
    )
    warm = slice(2000, None)
    assert run.tpot_ms[warm].mean() == pytest.approx(itl_ms, rel=0.005)
    assert run.ttft_ms[warm].mean() == pytest.approx(ttft_ms, rel=0.02)
    assert mean_batch(run) == pytest.approx(batch, rel=0.03)


def test_prefixes_are_shared_by_their_numbers_alone() -> None:
    common = {"arrival_s": [0, 10, 20, 30], "prefix": [7, 7, 8, 7], "block_size": 16}
    run = replay(100, 2, prefix_tokens=[64, 64, 64, 20], **common)
    assert run.requests["cached_tokens"].tolist() == [0, 64, 0, 16]
    off = replay(100, 2, prefix_tokens=64, enable_prefix_caching=False, **common)
    assert not off.requests["cached_tokens"].any()


def test_the_block_that_was_let_go_longest_ago_is_lost_first() -> None:
    # 12 blocks; three prompts of 4 blocks fill it; a fourth takes those of the first.
    cache = {"block_size": 16, "num_gpu_blocks": 12, "max_model_len": 192}
    order = [0, 1, 2, 3, 1, 0]
    run = replay(
        64,
        1,
        arrival_s=10 * np.arange(6),
        prefix=order,
        prefix_tokens=64,
        enable_prefix_caching=True,
        **cache,
    )
    assert (run.requests["cached_tokens"] > 0).tolist() == [False, False, False, False, True, False]


def test_priorities_change_the_order_not_the_work() -> None:
    shape = {"arrival_s": np.zeros(20), "max_num_seqs": 1}
    priority = np.arange(20)[::-1]
    run = replay(10, 3, priority=priority, scheduling_policy="priority", **shape)
    assert np.argsort(run.requests["first_token_ns"]).tolist() == list(range(19, -1, -1))
    assert replay(10, 3, priority=priority, **shape).n_steps == run.n_steps


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [
        replay(10, 20, arrival_s=poisson(50, 100), step_noise=0.2, seed=seed).requests.tolist()
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_steps_can_be_left_out() -> None:
    run = replay(10, 20, arrival_s=poisson(50, 100), steps=False)
    assert (len(run.steps), run.n_steps > 20) == (0, True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: replay(10, 10), "either arrival_s or a concurrency"),
        (lambda: replay(10, 10, arrival_s=0.0, concurrency=1), "either arrival_s or a concurrency"),
        (lambda: replay(10, 10, concurrency=0), "at least 1"),
        (lambda: replay([1, 2, 3], [1, 2], concurrency=1), "different lengths: 3, 2"),
        (lambda: replay(10, [5, 0], concurrency=1), "request 1: it needs at least one"),
        (lambda: replay(10, 10, arrival_s=[1, 0]), "request 1: it arrives before"),
        (lambda: replay(1000, 10, concurrency=1, num_gpu_blocks=10, block_size=16), "never fit"),
        (lambda: replay(10, 10, concurrency=1, prefix=1), "belong together"),
        (lambda: replay(10, 10, concurrency=1, alpha=1), "did you mean alpha_ms"),
    ],
)
def test_what_cannot_be_replayed_is_refused(call: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()


@st.composite
def loads(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of replay: an open load on a small engine, every part of which is scarce now and then."""
    n = draw(st.integers(1, 30))
    block_size, chunked = draw(st.integers(1, 9)), draw(st.booleans())

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=n, max_size=n))

    return {
        "prompt_tokens": column(st.integers(1, 70)),
        "output_tokens": column(st.integers(1, 30)),
        "arrival_s": np.cumsum(column(st.integers(0, 60))) / 1000,
        "prefix": column(st.integers(0, 2)),
        "prefix_tokens": column(st.integers(0, 80)),
        "priority": column(st.integers(0, 2)),
        "max_num_seqs": draw(st.integers(1, 9)),
        "block_size": block_size,
        "num_gpu_blocks": -(-100 // block_size) + draw(st.one_of(st.integers(0, 30), st.just(900))),
        "max_num_batched_tokens": draw(st.integers(9, 40)) if chunked else 0,
        "enable_chunked_prefill": chunked,
        "enable_prefix_caching": draw(st.booleans()),
        "scheduling_policy": draw(st.sampled_from(["fcfs", "priority"])),
        **LAW,
    }


def twin(load: dict[str, Any]) -> tuple[Engine, list[Request]]:
    """The same load on the slow engine, run to its end."""
    requests = []
    for i, (tokens, shared) in enumerate(zip(load["prompt_tokens"], load["prefix_tokens"], strict=True)):
        common = [("prefix", load["prefix"][i], k) for k in range(min(tokens, shared))]
        own = [("own", i, k) for k in range(len(common), tokens)]
        arrival_ns = round(float(load["arrival_s"][i]) * 1e9)
        requests.append(Request(i, load["priority"][i], arrival_ns, common + own, load["output_tokens"][i]))
    engine = Engine(
        checked({"mode": "batching"} | {k: load[k] for k in load if k in BY_NAME}), list(requests)
    )
    engine.run()
    return engine, requests


@given(loads())
@settings(max_examples=150)
def test_it_schedules_as_the_slow_and_obvious_engine_does(load: dict[str, Any]) -> None:
    run = replay(**load)
    engine, requests = twin(load)
    for name in run.steps.dtype.names:
        assert run.steps[name].tolist() == [step.get(name, step["decodes"]) for step in engine.steps], name
    assert run.requests.tolist() == [
        (r.arrival_ns, r.scheduled_ns, r.first_ns, r.last_ns, r.cached, r.preemptions) for r in requests
    ]


@given(loads(), st.one_of(st.none(), st.integers(1, 12)))
@settings(max_examples=100)
def test_any_load_is_served_to_its_end_within_the_limits(
    load: dict[str, Any], concurrency: int | None
) -> None:
    loop = {"arrival_s": None, "concurrency": concurrency} if concurrency else {}
    run = replay(**load | loop)
    rows, steps = run.requests, run.steps
    prompt, output = np.array(load["prompt_tokens"]), np.array(load["output_tokens"])
    assert (rows["arrival_ns"] <= rows["scheduled_ns"]).all()
    assert (rows["scheduled_ns"] < rows["first_token_ns"]).all()
    assert ((rows["first_token_ns"] < rows["last_token_ns"]) == (output > 1)).all()
    assert (steps["running"] <= load["max_num_seqs"]).all()
    assert (steps["used_blocks"] <= load["num_gpu_blocks"]).all()
    assert (steps["decodes"] + steps["prefill_tokens"] <= (load["max_num_batched_tokens"] or 8192)).all()
    assert (steps["start_ns"][1:] >= steps["end_ns"][:-1]).all()
    preempted = int(rows["preemptions"].sum())
    assert steps["preempted"].sum() == preempted
    assert steps["admitted"].sum() == len(prompt) + preempted
    decodes = int(output.sum()) - len(prompt)
    assert decodes - preempted <= steps["decodes"].sum() <= decodes
    computed = int(prompt.sum() - rows["cached_tokens"].sum())
    assert preempted or steps["prefill_tokens"].sum() == computed
