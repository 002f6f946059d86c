"""bench --until: a run goes on until a metric is known well enough."""

import time

import numpy as np
import pytest

import vllmperf
import vllmperf._engine as _engine
from vllmperf.cli import main
from vllmperf.errors import SettingError, UsageError
from vllmperf.loadgen.looks import Looks
from vllmperf.loadgen.recorded import resume_run
from vllmperf.loadgen.subscribers import DRAIN
from vllmperf.loadgen.task import Task
from vllmperf.metrics.quantity import quantity
from vllmperf.metrics.stopping import WIDER
from vllmperf.plan import Plan
from vllmperf.plan.precision import parsed

QUICK = {
    "sim": {"ttft_ms": "normal:6:1", "itl_ms": 1},
    "max_concurrency": 8,
    "input_len": 4,
    "output_len": 2,
}


@pytest.mark.parametrize("written", ["ttft_p99±5%", "TTFT_p99 +-5 %", "ttft_p99+/-5.0%"])
def test_a_plan_keeps_a_precision_in_one_form_through_json(written):
    plan = Plan.of(base_url="http://127.0.0.1:1", until=written, max_duration="60s", request_rate=5)
    assert plan.load.until == "ttft_p99±5%"
    assert plan.load.num_prompts is None
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"until": "ttft_p99"}, "METRIC±PERCENT%"),
        ({"until": "ttft_p99±0%"}, "above 0 %"),
        ({"until": "ttft_p99±60%"}, "up to 50 %"),
        ({"until": "ttft_p9±5%", "duration": None}, "may never be reached"),
        ({"until": "tfft_p99±5%"}, "did you mean ttft_p99"),
        ({"until": "ttft_max±5%"}, "has no interval"),
        ({"until": "goodput_share±5%"}, "needs goodput"),
    ],
)
def test_a_precision_that_makes_no_sense_is_one_clear_line(given, words):
    with pytest.raises(SettingError, match=words):
        vllmperf.bench(**{**QUICK, "duration": 5, **given})


def test_a_run_stops_when_the_metric_is_known_and_shows_the_wider_interval():
    run = vllmperf.bench(**QUICK, until="ttft_mean±20%", max_duration=60)
    until, row = run.summary["until"], run.summary["metrics"]["ttft_ms"]
    assert run.recording.state == "finished"
    assert until["stopped"]
    assert until["reached"]
    assert until["looks"][0] >= 100
    assert row["ci95"]["mean"] == until["ci95"]
    low, high = run.ttft.ci95("mean")
    assert until["ci95"][1] - until["ci95"][0] == pytest.approx(WIDER * (high - low))
    assert "not_precise" not in {one["name"] for one in run.summary["verdict"]["findings"]}


def test_a_run_that_ends_first_says_what_it_reached_and_exits_with_0(capsys):
    words = "bench --sim ttft_ms=normal:6:1,itl_ms=1 --max-concurrency 4 --input-len 4 --output-len 2 --num-prompts 150"
    code = main([*words.split(), "--no-progress", "--until", "ttft_mean+-0.01%"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "was known to ±0.01 %: it is known to ±" in shown
    assert "until ended after 150 requests" in shown
    assert code == 0 or "do not rely" in shown


def test_a_metric_that_the_run_cannot_have_is_said_to_be_unmeasured():
    run = vllmperf.bench(**QUICK, until="ttft_mean±20%", num_prompts=10, stream=False)
    assert run.summary["until"]["value"] is None
    assert "it was not measured" in " ".join(run.summary["verdict"]["reasons"])


def test_gaps_are_looked_at_too_and_a_percentile_of_the_precision_is_in_the_summary():
    run = vllmperf.bench(**{**QUICK, "output_len": 6}, until="itl_p93±50%", max_duration=60, num_prompts=900)
    assert run.summary["until"]["looks"]
    assert "p93" in run.summary["metrics"]["itl_ms"]


def test_what_is_collected_tells_the_same_as_the_run_file():
    run = vllmperf.bench(**QUICK, num_prompts=300)
    known = run.ttft.ci95("mean")
    if known is None or (known[1] - known[0]) / 2 > 0.1 * run.ttft.mean:
        pytest.skip("the machine was too busy for 300 requests to tell the mean")
    rows = run.recording.requests
    looks = Looks({}, quantity("ttft_mean"), parsed("ttft_mean±20%"))
    nothing = {"records": b"", "gaps": b"", "stamps": b"", "events": b"", "bytes": b""}
    asked = []
    for part in np.array_split(rows, 3):
        asked.append(looks({**nothing, "records": part.tobytes()}, {}))
    deadline = time.monotonic() + 60
    while not (end := looks(nothing, {})) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert end == DRAIN
    assert asked[0] is False
    facts = looks.facts()
    assert facts["stopped"]
    assert facts["looks"][0] == 100
    assert rows.dtype == np.dtype(_engine.RECORD_DTYPE)


def test_a_run_with_a_precision_is_not_resumed():
    task = Task.of({**QUICK, "until": "ttft_mean±20%", "num_prompts": 50})
    with pytest.raises(UsageError, match="cannot be resumed"):
        resume_run(task, None)
