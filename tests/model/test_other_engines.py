"""Servers that are not one plain engine with one client: each is fitted right, or the result says what it is."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")

from tests.model.engine import Law, run
from tests.model.other_server import Kind, arrivals, other_server
from vllmperf.loadgen.task import Task
from vllmperf.model.arrivals import Arrivals
from vllmperf.model.arrivals import arrivals as of_recording
from vllmperf.model.campaign import Shape, Spot, carry_out, run_seconds, shapes_of, spots
from vllmperf.model.crosscheck import strangers
from vllmperf.model.law import Measured, fit_runs, measured
from vllmperf.model.server_settings import setting
from vllmperf.model.steps import steps
from vllmperf.record.reader import read
from vllmperf.target import Client

LAW = Law(step_noise=0.05, stamp_noise=0.05)


def of(streams: int, law: Law = LAW, seed: int = 0, prompt: int = 100) -> Arrivals:
    return run(law, streams, 6 * streams + 20, prompt, (60, 120), seed=seed).arrivals


def together(one: Arrivals, other: Arrivals) -> Arrivals:
    """What a client sees of two engines behind one address."""
    at = np.concatenate([one.at_ns, other.at_ns])
    order = np.argsort(at, kind="stable")
    return Arrivals(
        at_ns=at[order],
        stream=np.concatenate([one.stream, other.stream + len(one.sent_ns)])[order],
        place=np.concatenate([one.place, other.place])[order],
        shared=np.zeros(len(at), dtype=bool),
        sent_ns=np.concatenate([one.sent_ns, other.sent_ns]),
        first_ns=np.concatenate([one.first_ns, other.first_ns]),
        prompt_tokens=np.concatenate([one.prompt_tokens, other.prompt_tokens]),
        multiple=0.0,
    )


def moved(usual: Arrivals, at_ns: np.ndarray) -> Arrivals:
    """The same tokens at other times."""
    order = np.argsort(at_ns, kind="stable")
    return replace(
        usual,
        at_ns=at_ns[order],
        stream=usual.stream[order],
        place=usual.place[order],
        shared=usual.shared[order],
    )


def runs_of(kind: Kind, shapes: str) -> list[Measured]:
    """Those of a fit of 18 s, in virtual time. The kind's /metrics counts all that run."""
    planned = spots(8, shapes_of(shapes))
    each_s = run_seconds(planned, 18)
    return [
        measured(
            spot.label,
            arrivals(kind, spot.concurrency, *vars(spot.shape).values(), each_s * spot.share, seed),
            spot.held_out,
            spot.concurrency,
            float(spot.concurrency + kind.others) if kind.metrics else None,
        )
        for seed, spot in enumerate(planned)
    ]


def two_engines(streams: int) -> Arrivals:
    return together(of(streams // 2, seed=streams + 1), of(streams // 2, seed=streams + 2))


@pytest.mark.parametrize("streams", [4, 8, 20, 40])
def test_streams_of_two_engines_wander_against_one_another_and_those_of_one_do_not(streams):
    assert steps(two_engines(streams)).wander > 0.06
    assert steps(of(streams)).wander < 0.01
    assert steps(of(streams, Law(stamp_noise=0.5))).wander < 0.01


def test_a_fixed_order_of_streams_within_a_step_is_no_wandering():
    usual = of(10)
    late = moved(usual, usual.at_ns + np.where(usual.stream % 2, 1.5e6, 0.0))
    assert steps(late).wander < 0.02


def test_a_server_that_writes_slowly_and_the_oldest_stream_first_is_one_engine():
    usual = of(24)
    ends = np.flatnonzero(np.diff(usual.at_ns) > 2e6) + 1
    oldest_first = np.concatenate([np.argsort(np.argsort(part)) for part in np.split(usual.stream, ends)])
    found = measured("slow", moved(usual, usual.at_ns + oldest_first * 0.12e6))
    assert found.steps is not None, found.why_not
    assert np.median(found.steps.spread_ns) > 0.2 * np.nanmedian(found.steps.duration_ns)


def test_two_engines_behind_one_address_are_named_and_taken_by_means_of_seconds():
    runs = [measured("1", of(1, seed=1), concurrency=1)]
    runs += [measured(str(c), two_engines(c), concurrency=c) for c in (4, 8, 20, 40)]
    result = fit_runs(runs)
    assert any("several engines share this address" in warning for warning in result.warnings)
    assert {point.method for point in result.points} == {"windows"}
    assert (
        result.parameters["beta"].value < LAW.beta * 2
    )  # of the address: one engine's, over two, and some prefill


def test_a_prompt_that_has_a_step_of_its_own_lengthens_one_step_and_no_other():
    usual = of(6)
    # Of each step that admits, the first tokens come half a step before those of the streams that decode.
    early = usual.at_ns - np.where((usual.place == 0) & (usual.at_ns > usual.at_ns[50]), 4e6, 0.0)
    order = np.argsort(early, kind="stable")
    first = usual.first_ns.astype(np.float64)
    first[first > usual.at_ns[50]] -= 4e6
    split = replace(
        usual,
        at_ns=early[order],
        stream=usual.stream[order],
        place=usual.place[order],
        shared=usual.shared[order],
        first_ns=first.astype(np.int64),
    )
    found = steps(split)
    assert found.regular > 0.99
    assert len(found) == len(steps(usual))
    pure = found.duration_ns[found.pure] / 1e6
    assert np.median(np.abs(pure - LAW.alpha - LAW.beta * found.decodes[found.pure])) < 0.15
    assert np.max(pure) < LAW.alpha + 6 * LAW.beta + 1.0


def test_a_short_step_of_prompts_alone_is_not_taken_for_a_part_of_the_step_before():
    usual = of(6)
    # First tokens, and all that comes after each, 1.5 ms after the step that they came with.
    late = 1.5e6 * np.searchsorted(np.sort(usual.first_ns), usual.at_ns, side="right")
    own = np.where(
        usual.place == 0, late, 1.5e6 * np.searchsorted(np.sort(usual.first_ns), usual.at_ns - 2e6)
    )
    at = usual.at_ns + own
    order = np.argsort(at, kind="stable")
    first = usual.first_ns + 1.5e6 * (1 + np.argsort(np.argsort(usual.first_ns)))
    moved = replace(
        usual,
        at_ns=at[order],
        stream=usual.stream[order],
        place=usual.place[order],
        shared=usual.shared[order],
        first_ns=first.astype(np.int64),
        sent_ns=(usual.sent_ns + 1.5e6 * np.searchsorted(np.sort(usual.first_ns), usual.sent_ns)).astype(
            np.int64
        ),
    )
    found = steps(moved)
    off = found.duration_ns[found.pure] / 1e6 - LAW.alpha - LAW.beta * found.decodes[found.pure]
    assert np.mean(np.abs(off) > 1.0) < 0.01
    assert found.apart
    assert not steps(usual).apart


def test_several_tokens_in_each_step_give_a_law_a_token():
    runs = [
        measured(str(c), replace(of(c, seed=c), multiple=0.6, tokens_per_chunk=2.0), concurrency=c)
        for c in (1, 8, 24)
    ]
    result = fit_runs(runs)
    assert result.parameters["alpha"].value == pytest.approx(LAW.alpha / 2, rel=0.01)
    assert result.parameters["beta"].value == pytest.approx(LAW.beta / 2, rel=0.05)
    assert any("2.00 tokens" in warning for warning in result.warnings)
    assert result.points[1].itl_ms == pytest.approx(result.points[1].predicted_itl_ms, rel=0.02)


def test_prompts_of_another_client_are_noticed_by_steps_that_are_too_long():
    alone = [steps(of(c, seed=c)) for c in (4, 16)]
    assert strangers(alone, LAW.alpha, LAW.beta) == []
    visited = []
    for one in alone:
        there = np.random.default_rng(1).random(len(one)) < 0.08
        visited.append(replace(one, duration_ns=one.duration_ns + np.where(there, 3e6, 0.0)))
    assert "another client" in strangers(visited, LAW.alpha, LAW.beta)[0]


def test_steps_that_are_only_seen_late_are_not_taken_for_another_client():
    seen = []
    for one in [steps(of(c, seed=c)) for c in (4, 16)]:
        late = np.where(np.random.default_rng(1).random(len(one)) < 0.08, 3e6, 0.0)
        seen.append(replace(one, duration_ns=one.duration_ns + late - np.append(0.0, late[:-1])))
    assert strangers(seen, LAW.alpha, LAW.beta) == []


@pytest.mark.parametrize(
    ("kind", "said", "method"),
    [
        ({"engines": 2}, "several engines share this address", "windows"),
        ({"others": 4, "metrics": True}, "other clients", "steps"),
        ({"most_guessed": 3}, "speculative", "steps"),
    ],
)
def test_a_server_that_is_not_one_plain_engine_is_said_to_be_so(kind, said, method):
    result = fit_runs(runs_of(Kind(**kind), "128/48"))
    assert {point.method for point in result.points} == {method}
    assert any(said in warning for warning in result.warnings), result.warnings


@pytest.mark.parametrize(
    ("kind", "method"), [({"chunk": 256, "context": 0.0002}, "steps"), ({"multiple": 3}, "windows")]
)
def test_a_batching_server_that_is_not_ours_is_fitted(kind, method):
    law = Kind(**kind)
    result = fit_runs(runs_of(law, "64/48"))
    assert {point.method for point in result.points} == {method}
    usual = law.alpha + law.context * 90  # its context is part of what every step takes
    assert result.parameters["alpha"].value == pytest.approx(usual, rel=0.35)
    assert bool(result.warnings) or method == "steps"


def test_a_live_server_that_is_not_ours_is_asked_and_measured(tmp_path):
    with other_server(Kind(metrics=True, ghosts=5)) as url:
        assert setting(Client(url), "max_num_seqs") == Kind.slots
        (done,) = carry_out(Task.of({"base_url": url}), [Spot(2, Shape(64, 16))], 3.0, tmp_path)
    found = of_recording(read(done.path))
    assert done.server_running is None or 5 <= done.server_running <= 7
    assert len(found.at_ns) > 10
    assert found.multiple == 0.0
