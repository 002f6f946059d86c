"""/metrics of the service: what it says of runs, and that Prometheus can read it."""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess

import numpy as np
import parts
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from vllmperf import _engine
from vllmperf.loadgen.bodies import Body
from vllmperf.loadgen.feed import Feeder
from vllmperf.loadgen.run import engine_config
from vllmperf.loadgen.schedule import Schedule
from vllmperf.loadgen.session import Session
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan
from vllmperf.service import exposition
from vllmperf.service.counts import Counts, in_buckets
from vllmperf.service.series import (
    BOUNDS_S,
    KEPT_RUNS,
    LAG_S,
    LATENCY_S,
    SUBJECTS,
    RunState,
    ServiceState,
    StartState,
)
from vllmperf.sim import Server

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def counts(**more):
    times = {
        name: {"count": 3, "sum_s": 0.5, "buckets": [0] * 5 + [3] * (len(bounds) - 5)}
        for name, bounds in BOUNDS_S.items()
    }
    return {
        "event": "histograms",
        **times,
        "requests": {"completed": 3, "reset": 1},
        "prompt_tokens": 30,
        "output_tokens": 60,
        "sent": 5,
        "chunks": 63,
        "coalesced": 2,
        "cpu_s": 0.25,
        "in_flight": 1,
        "memory_bytes": 50_000_000,
        **more,
    }


def run(name="one", phase="running", **more):
    return RunState(
        name, "bench", phase, label="a", model="sim", target="http://s:1", started_at=1.75e9, **more
    )


def full_state():
    """A state that gives every series at least one sample."""
    power = {"watts": 600.0, "limit_watts": 700.0, "energy_joules": 1200.0}
    return ServiceState(
        runs=[
            run("live", counts=counts(), asked=100, time_left_s=9.0, power=power),
            run("old", "finished", counts=counts(), ended_at=1.76e9, verdict="caution"),
        ],
        queue_limit=10,
        uploads=2,
        upload_bytes=1000,
        starts=[
            StartState("pod-0", "sim", "0.19.0", True, 61.5, 1.75e9, {"weights_load": 20.0, "compile": 30.0})
        ],
    )


def page(state, accept=""):
    text, _ = exposition.page(state, accept)
    return text.decode()


def samples(state):
    """(name, labels) -> value."""
    return {
        (one.name, *sorted(one.labels.items())): one.value
        for family in prometheus_text(page(state))
        for one in family.samples
    }


def of_run(found, name, run):
    return {key: value for key, value in found.items() if key[0] == name and ("run", run) in key}


@pytest.mark.parametrize(("accept", "read"), [("", prometheus_text), (OPENMETRICS, openmetrics)])
def test_every_series_of_the_tables_is_on_the_page_in_both_formats(accept, read):
    named = {one.name for family in read(page(full_state(), accept)) for one in family.samples}
    for _, table, _ in SUBJECTS:
        for series in table:
            end = "_bucket" if series.kind == "histogram" else ""
            assert series.full_name + end in named


def test_names_units_and_help_pass_promtools_lint():
    checked = subprocess.run(
        [parts.program("promtool"), "check", "metrics"],
        input=page(full_state()),
        text=True,
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_names_labels_and_help_are_said_once():
    all_series = [series for _, table, _ in SUBJECTS for series in table]
    names = [series.full_name for series in all_series]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"vllmperf_[a-z0-9_]+", name) for name in names)
    assert all(series.help and not series.help.endswith(".") for series in all_series)


def test_a_run_label_does_not_grow_without_bound():
    ended = [run(f"r{n:03}", "finished", ended_at=2e9 - n) for n in range(200)]
    state = ServiceState(runs=[run("now"), run("next", "queued"), *ended])
    labels = {dict(key[1:]).get("run") for key in samples(state)} - {None}
    assert labels == {"now", *(f"r{n:03}" for n in range(KEPT_RUNS))}


def test_counters_of_a_run_that_has_just_begun_are_zero_so_that_the_first_ones_count():
    found = samples(ServiceState(runs=[run("new")]))
    outcomes = of_run(found, "vllmperf_requests_total", "new")
    assert len(outcomes) == len(_engine.OUTCOMES)
    assert set(outcomes.values()) == {0.0}
    assert of_run(found, "vllmperf_ttft_seconds_count", "new").popitem()[1] == 0.0
    assert not of_run(found, "vllmperf_verdict", "new")


def test_a_run_that_ended_before_the_service_started_has_no_counters_rather_than_zeros():
    found = samples(ServiceState(runs=[run("old", "finished", ended_at=1.0)]))
    assert not of_run(found, "vllmperf_requests_total", "old")
    assert of_run(found, "vllmperf_run_info", "old")


def test_gauges_of_now_end_with_the_run_and_counters_stay():
    found = samples(full_state())
    assert of_run(found, "vllmperf_requests_in_flight", "live")
    assert not of_run(found, "vllmperf_requests_in_flight", "old")
    assert of_run(found, "vllmperf_output_tokens_total", "old").popitem()[1] == 60.0


def test_phase_and_verdict_are_state_sets():
    found = samples(full_state())
    phases = of_run(found, "vllmperf_run_phase", "live")
    assert [dict(key[1:])["phase"] for key, value in phases.items() if value] == ["running"]
    levels = of_run(found, "vllmperf_verdict", "old")
    assert {dict(key[1:])["level"]: value for key, value in levels.items()} == {
        "trusted": 0.0,
        "caution": 1.0,
        "untrusted": 0.0,
    }


def test_energy_per_token_is_of_the_whole_run():
    found = of_run(samples(full_state()), "vllmperf_energy_per_output_token_joules", "live")
    assert list(found.values()) == [20.0]


def test_odd_labels_are_escaped():
    odd = 'a "b" \\ c\nd'
    state = ServiceState(runs=[RunState("x", "bench", "running", label=odd)])
    (key,) = of_run(samples(state), "vllmperf_run_info", "x")
    assert dict(key[1:])["label"] == odd


def test_bounds_rise_and_reach_from_a_millisecond_to_beyond_a_minute():
    for bounds in (LATENCY_S, LAG_S):
        assert list(bounds) == sorted(set(bounds))
    assert LATENCY_S[0] == 0.001
    assert LATENCY_S[-1] > 60
    assert all(b / a <= 1.7 for a, b in itertools.pairwise(LATENCY_S))


def test_nothing_of_the_python_process_but_its_own_figures_is_on_the_page():
    names = {family.name for family in prometheus_text(page(ServiceState()))}
    assert all(name.startswith(("vllmperf_", "process_")) for name in names)


# ---- counts ----


def session(server, n, concurrency=2):
    """A session of n equal requests, of one prompt token in and six out."""
    body = json.dumps({"model": "sim", "prompt": [1], "max_tokens": 6, "stream": True}).encode()
    plan = Plan.of(base_url=server.url, model="sim", max_concurrency=concurrency)
    when = Schedule(n, None)
    feeder = Feeder(itertools.repeat(Body(body)), when, concurrency)
    return Session(engine_config(Task(plan), ["127.0.0.1"], when), feeder)


class Kept:
    """A subscriber that keeps what came."""

    def __init__(self):
        self.records, self.gaps, self.turn = [], [], None

    def __call__(self, turn):
        self.records.append(np.frombuffer(turn.batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE)))
        self.gaps.append(np.frombuffer(turn.batch["gaps"], dtype=np.dtype(_engine.GAP_DTYPE))["ns"])
        self.turn = turn


@pytest.fixture(scope="module")
def counted():
    """Lines of two sessions of one run, one after the other; what came in both."""
    lines, both = [], [Kept(), Kept()]
    told = Counts(lines.append)
    with Server(ttft_ms=5, itl_ms=2, faults=["status:code=500@every=7"]) as server:
        for kept, n in zip(both, (20, 15), strict=True):
            with session(server, n) as made:
                made.subscribe(kept, told)
                made.run()
    return lines, both


def test_the_last_line_has_all_sessions_of_the_run(counted):
    lines, both = counted
    records = np.concatenate([one for kept in both for one in kept.records])
    outcomes = np.bincount(records["outcome"], minlength=len(_engine.OUTCOMES))
    last = lines[-1]
    assert last["requests"] == {name: n for name, n in zip(_engine.OUTCOMES, outcomes, strict=True) if n}
    assert last["requests"]["http_error"] == 5
    assert last["sent"] == 35
    good = records[records["outcome"] == 0]
    assert last["output_tokens"] == good["output_tokens"].sum() == 180
    assert last["prompt_tokens"] == good["prompt_tokens"].sum()
    assert last["ttft"]["count"] == last["e2el"]["count"] == len(good)
    assert last["itl"]["count"] == good["n_gaps"].sum()
    assert last["memory_bytes"] > 1e6


def test_buckets_are_those_of_the_samples_and_sums_are_exact(counted):
    lines, both = counted
    records = np.concatenate([one for kept in both for one in kept.records])
    good = records[records["outcome"] == 0]
    ttft_s = (good["first_token_ns"] - good["sent_ns"]) / 1e9
    last = lines[-1]["ttft"]
    assert last["buckets"] == [int((ttft_s <= bound).sum()) for bound in LATENCY_S]
    assert last["sum_s"] == pytest.approx(ttft_s.sum())


def test_counts_never_fall_from_line_to_line(counted):
    lines, _ = counted
    for before, after in itertools.pairwise(lines):
        for key in ("sent", "chunks", "output_tokens", "cpu_s"):
            assert before[key] <= after[key]
        for name in BOUNDS_S:
            assert all(a <= b for a, b in zip(before[name]["buckets"], after[name]["buckets"], strict=True))


def test_the_lags_are_the_engines_own(counted):
    lines, both = counted
    expected = sum(kept.turn.histograms["client_lag"].count for kept in both)
    assert lines[-1]["client_lag"]["count"] == expected > 0
    assert json.loads(json.dumps(lines[-1])) == lines[-1]


def test_the_engines_histogram_in_buckets_has_each_value_on_its_side_of_a_bound():
    rng = np.random.default_rng(1)
    values = (10 ** rng.uniform(1, 11, 20_000)).astype(np.int64)
    far = np.array([abs(values / (bound * 1e9) - 1).min() for bound in LAG_S])
    histogram = _engine.Histogram()
    histogram.add(values)
    found = in_buckets(histogram, LAG_S)
    near = [int((abs(values / (bound * 1e9) - 1) < 0.001).sum()) for bound in LAG_S]
    exact = [int((values <= bound * 1e9).sum()) for bound in LAG_S]
    assert all(
        abs(got - want) <= around for got, want, around in zip(found["buckets"], exact, near, strict=True)
    ), far
    assert found["count"] == len(values)
    assert math.isclose(found["sum_s"], values.sum() / 1e9, rel_tol=1e-9)


def test_an_empty_histogram_is_all_zeros():
    assert in_buckets(_engine.Histogram(), LAG_S) == {"count": 0, "sum_s": 0.0, "buckets": [0] * len(LAG_S)}
