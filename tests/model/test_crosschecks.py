"""What is held against a fit: warm-up, stalls, Little's law, the server's own gauge, graph sizes, other servers."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")

from tests.model.engine import Law, run
from vllmperf.metrics.mser import warm_up
from vllmperf.model.crosscheck import InFlight, contradiction, in_flight
from vllmperf.model.law import fit_runs, measured
from vllmperf.model.server_settings import _in_json, _in_text
from vllmperf.model.steady import settled, without_stalls
from vllmperf.model.steps import steps
from vllmperf.model.three_parameter import three_parameter_law


def made(streams=8, law=None, requests=40, prompt=100):
    return run(law or Law(step_noise=0.05, stamp_noise=0.05), streams, requests, prompt, (60, 120)).arrivals


def slower(arrivals, until, factor):
    """The same run with its first `until` ns stretched."""
    early = np.minimum(arrivals.at_ns, until) * (factor - 1)
    late_sent = np.minimum(arrivals.sent_ns, until) * (factor - 1)
    late_first = np.minimum(arrivals.first_ns, until) * (factor - 1)
    return replace(
        arrivals,
        at_ns=arrivals.at_ns + early,
        sent_ns=(arrivals.sent_ns + late_sent).astype(np.int64),
        first_ns=(arrivals.first_ns + late_first).astype(np.int64),
    )


def test_the_slow_first_steps_of_a_server_are_left_out():
    usual = made(requests=60)
    cold = slower(usual, usual.at_ns[0] + 0.15 * (usual.at_ns[-1] - usual.at_ns[0]), 1.5)
    found, unsettled = settled(steps(cold))
    assert 0.05 * len(found) < unsettled < 0.3 * len(found)
    assert settled(steps(usual))[1] == 0


def test_a_series_without_a_start_of_its_own_is_kept_whole():
    assert warm_up(np.random.default_rng(1).normal(10, 0.5, 400)) == 0


def test_steps_that_stood_still_do_not_move_the_law():
    usual = [
        made(streams, requests=8 * streams + 20, prompt=prompt)
        for streams, prompt in ((1, 100), (8, 100), (30, 400))
    ]
    stalled = []
    for one in usual:
        late = 80e6 * np.floor((one.at_ns - one.at_ns[0]) / 1.5e9)
        moved = np.interp(one.first_ns, one.at_ns, one.at_ns + late)
        sent = np.interp(one.sent_ns, one.at_ns, one.at_ns + late)
        stalled.append(
            replace(
                one, at_ns=one.at_ns + late, first_ns=moved.astype(np.int64), sent_ns=sent.astype(np.int64)
            )
        )
    result = fit_runs([measured(str(place), one) for place, one in enumerate(stalled)])
    assert result.parameters["alpha"].value == pytest.approx(Law().alpha, rel=0.01)
    assert result.parameters["beta"].value == pytest.approx(Law().beta, rel=0.05)
    assert any("stood still" in warning for warning in result.warnings)
    assert without_stalls(steps(usual[1]))[1].count == 0


def test_little_and_the_count_agree_in_a_steady_closed_loop():
    seen = in_flight(made(8, requests=200))
    assert seen.counted == pytest.approx(8, rel=0.05)
    assert seen.little == pytest.approx(seen.counted, rel=0.1)
    assert contradiction("x", seen, None) is None


def test_little_says_nothing_of_a_run_that_is_as_short_as_its_requests():
    assert in_flight(made(8, requests=10)).little is None


def test_other_clients_are_told_from_the_servers_gauge():
    told = contradiction("8 at 128/128", InFlight(8.0, 8.0), 14.0)
    assert "other clients" in told
    assert contradiction("8 at 128/128", InFlight(8.0, 8.0), 8.4) is None


def test_a_queue_in_the_server_is_told_from_its_gauge():
    assert "queue" in contradiction("64", InFlight(64.0, 64.0), 32.0)


def test_the_three_parameters_of_a_server_of_that_law_are_found():
    runs = [
        steps(
            made(
                streams,
                Law(alpha=8, beta=0.05, gamma=0, delta=0.05, step_noise=0.02),
                6 * streams + 20,
                prompt,
            )
        )
        for streams, prompt in ((1, 100), (4, 800), (16, 100), (32, 400))
    ]
    reading = []
    for one in runs:
        extra = 0.0002 * 1e6 * (one.context_tokens + one.prefill_tokens)
        reading.append(replace(one, duration_ns=one.duration_ns + extra))
    alpha, beta, gamma = three_parameter_law(reading).values
    assert alpha == pytest.approx(8, rel=0.02)
    assert beta == pytest.approx(0.05, rel=0.03)
    assert gamma == pytest.approx(0.0002, rel=0.1)


def test_one_load_cannot_tell_three_parameters():
    with pytest.raises(ValueError, match=r"cannot|go together"):
        three_parameter_law([steps(made(1, requests=3))])


def test_graph_sizes_are_named():
    bent = []
    for streams in (1, 3, 6, 10, 13, 19, 27, 37):
        one = measured(str(streams), made(streams, Law(beta=0.4, stamp_noise=0.02), 6 * streams + 20))
        padded = 8 * -(-one.steps.decodes // 8)
        duration = one.steps.duration_ns + 4e5 * (padded - one.steps.decodes)
        bent.append(replace(one, steps=replace(one.steps, duration_ns=duration)))
    warnings = fit_runs(bent).warnings
    assert any("multiples of 8" in warning for warning in warnings)


def test_a_server_that_takes_fewer_at_once_than_were_sent_is_said_to():
    from vllmperf.model.arrivals import arrivals
    from vllmperf.model.rehearsal import rehearse

    settings = {"alpha_ms": 7.0, "beta_ms": 0.1, "delta_ms": 0.01, "max_num_seqs": 8}
    rng = np.random.default_rng(0)
    runs = []
    for streams in (1, 4, 24):
        prompts, outputs = rng.integers(60, 90, 20 + 8 * streams), rng.integers(40, 80, 20 + 8 * streams)
        recorded = rehearse(settings, {}, prompts, outputs, concurrency=streams, stamp_ms=0.05)
        runs.append(measured(str(streams), arrivals(recorded), concurrency=streams))
    assert any("no more than 8 at once" in warning for warning in fit_runs(runs).warnings)


def test_max_num_seqs_is_read_from_either_form_of_server_info():
    assert _in_json('{"vllm_config": {"scheduler_config": {"max_num_seqs": 48}}}', "max_num_seqs") == 48
    assert (
        _in_text(
            "SchedulerConfig(runner_type='generate', max_num_seqs=256, max_model_len=4096)", "max_num_seqs"
        )
        == 256
    )
    assert _in_text("{'max_num_seqs': 96}", "max_num_seqs") == 96
    assert _in_json('{"vllm_config": {}}', "max_num_seqs") is None
    assert _in_text("nothing of it", "max_num_seqs") is None


def test_the_gauge_is_summed_over_engines():
    from vllmperf.scrape.running import RUNNING, gauge

    page = f'# TYPE {RUNNING} gauge\n{RUNNING}{{engine="0"}} 2.0\n{RUNNING}{{engine="1"}} 3.0\n'
    assert gauge(page, RUNNING) == 5.0
    assert gauge("# TYPE other gauge\nother 1.0\n", RUNNING) is None


@pytest.mark.parametrize(
    ("looks", "known"),
    [
        ([20.0, 21.0, 20.0, 19.0], 20.0),
        ([4.0, 4.0, 0.0, 4.0, 4.0, 0.0], None),
        ([4.0, 4.0, 0.0, 4.0] * 100, 3.0),
        ([7.0, 7.0, 7.0], None),
    ],
)
def test_a_few_looks_at_a_gauge_that_jumps_say_nothing(looks, known):
    from vllmperf.scrape.running import known_mean

    assert known_mean(looks) == known


def test_the_servers_gauge_is_read_while_a_run_goes(monkeypatch):
    import time

    from vllmperf.scrape import running
    from vllmperf.target import Client

    pages = (f"# TYPE {running.RUNNING} gauge\n{running.RUNNING} 7.0\n".encode() for _ in range(10_000))
    monkeypatch.setattr(Client, "get", lambda *_: next(pages))
    with running.Running(Client("http://x:1"), every_s=0.001) as watch:
        deadline = time.monotonic() + 30
        while watch.mean is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert watch.mean == 7.0
