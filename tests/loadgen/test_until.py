"""bench --until: a run goes on until a metric is known well enough."""

import re
from concurrent.futures import Future

import numpy as np
import pytest

import vllmperf
import vllmperf._engine as _engine
from vllmperf.cli import main
from vllmperf.errors import SettingError, UsageError
from vllmperf.loadgen.precision_checks import COMPLETED, PrecisionChecks, _recording
from vllmperf.loadgen.recorded import resume_run
from vllmperf.loadgen.subscribers import DRAIN
from vllmperf.loadgen.task import Task
from vllmperf.metrics.estimates import estimates
from vllmperf.metrics.quantity import quantity
from vllmperf.metrics.stopping import WIDER
from vllmperf.metrics.trim import view
from vllmperf.plan import Plan
from vllmperf.plan.precision import parsed
from vllmperf.report.words import until_words

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
        ({"until": "itl_p99±5%", "keep_gaps": "none"}, "leave keep_gaps none out"),
    ],
)
def test_a_precision_that_makes_no_sense_is_one_clear_line(given, words):
    with pytest.raises(SettingError, match=words):
        vllmperf.bench(**{**QUICK, "duration": 5, **given})


def test_a_run_stops_when_the_metric_is_known_and_shows_the_wider_interval():
    run = vllmperf.bench(**QUICK, until="ttft_mean±50%", max_duration=60)
    until, row = run.summary["until"], run.summary["metrics"]["ttft_ms"]
    assert run.recording.state == "finished"
    assert until["stopped"]
    assert until["reached"]
    assert until["checked_at"][0] >= 100
    assert row["ci95"]["mean"] == until["ci95"]
    low, high = run.ttft.ci95("mean")
    assert until["ci95"][1] - until["ci95"][0] == pytest.approx(WIDER * (high - low))
    assert "not_precise" not in {one["name"] for one in run.summary["verdict"]["findings"]}


def test_a_run_that_ends_first_says_what_it_reached_and_exits_with_0(capsys):
    words = "bench --sim ttft_ms=normal:6:1,itl_ms=1 --max-concurrency 4 --input-len 4 --output-len 2 --num-prompts 600"
    code = main([*words.split(), "--no-progress", "--until", "ttft_mean+-0.01%"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "was known to ±0.01 %: it is known to ±" in shown
    assert "until ended after 600 requests" in shown
    assert code == 0 or "do not rely" in shown


UNTIL = {
    "stopped": False,
    "value": 5.0,
    "percent_asked": 5.0,
    "label": "P99 TTFT",
    "checked_at": [],
    "widened_by": 1.2,
}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"percent": 7.0, "reached": False}, "P99 TTFT is known to ±7 %, ±5 % was asked for ("),
        ({"percent": 4.8, "reached": True}, "P99 TTFT is known to ±4.8 % ("),
        ({"percent": None, "needs": 670}, "too few for an interval of P99 TTFT, which takes about 670"),
        ({"percent": None, "needs": None}, "too few for an interval of P99 TTFT"),
    ],
)
def test_what_a_run_that_ended_first_knows_is_said_as_it_is(more, words):
    summary = {"until": {**UNTIL, **more}, "requests": {"completed": 100}}
    ((_, said),) = until_words(summary)
    assert said.startswith(f"ended after 100 requests: {words}")
    assert words.endswith("(") or said.endswith(words)


def test_an_error_shows_what_was_given_as_it_was_given():
    with pytest.raises(SettingError, match=re.escape('(got "ttft_p99±5ms")')):
        Plan.of(base_url="http://127.0.0.1:1", until="ttft_p99±5ms", duration=1, request_rate=5)


def test_a_metric_that_the_run_cannot_have_is_said_to_be_unmeasured():
    run = vllmperf.bench(**QUICK, until="ttft_mean±20%", num_prompts=10, stream=False)
    assert run.summary["until"]["value"] is None
    assert "it was not measured" in " ".join(run.summary["verdict"]["reasons"])


def test_gaps_are_looked_at_too_and_a_percentile_of_the_precision_is_in_the_summary():
    run = vllmperf.bench(**{**QUICK, "output_len": 6}, until="itl_p93±50%", max_duration=60, num_prompts=900)
    assert run.summary["until"]["checked_at"]
    assert "p93" in run.summary["metrics"]["itl_ms"]


class AtOnce:
    """In place of the pool: a look is made before the next requests come, however busy the machine is."""

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, function, *given):
        done = Future()
        done.set_result(function(*given))
        return done

    def shutdown(self, **_: object) -> None:
        pass


@pytest.fixture(scope="module")
def made():
    """A run on a clock of its own: 1,000 requests a ms apart, first tokens after 6 ms and an exponential delay of 6 ms,
    in the order in which they ended."""
    rng, count = np.random.default_rng(1), 1000
    rows = np.zeros(count, np.dtype(_engine.RECORD_DTYPE))
    rows["index"] = np.arange(count)
    rows["sent_ns"] = rows["scheduled_ns"] = 1_000_000 * np.arange(count)
    rows["first_token_ns"] = rows["sent_ns"] + (6e6 + rng.exponential(6e6, count)).astype(np.int64)
    rows["last_token_ns"] = rows["end_ns"] = rows["first_token_ns"]
    rows["outcome"], rows["choices"] = COMPLETED, 1
    rows["prompt_tokens"], rows["output_tokens"] = 4, 1
    return rows[np.argsort(rows["end_ns"])]


def told(checks, rows):
    """What the checks answer to requests that end ten at a time, until they end the run."""
    nothing = {"records": b"", "gaps": b"", "stamps": b"", "events": b"", "bytes": b""}
    for place in range(0, len(rows), 10):
        batch = {**nothing, "records": rows[place : place + 10].tobytes()}
        if checks(batch, {}) or checks(nothing, {}) == DRAIN:
            return place + 10
    return None


def half_of_mean(rows):
    """Half of the interval of the mean TTFT that a report of these requests shows, over the mean; None without one."""
    estimate = estimates(view(_recording({}, [rows], [])), [quantity("ttft_mean")])["ttft_mean"]
    low, high = estimate.interval.low, estimate.interval.high
    return None if low is None else (high - low) / 2 / estimate.value


@pytest.mark.parametrize("percent", [12, 6, 4.2])
def test_a_run_ends_at_the_first_check_at_which_the_wider_interval_is_narrow_enough(
    made, percent, monkeypatch
):
    monkeypatch.setattr("vllmperf.loadgen.precision_checks.ThreadPoolExecutor", AtOnce)
    checks = PrecisionChecks({}, quantity("ttft_mean"), parsed(f"ttft_mean±{percent}%"))
    ended = told(checks, made)
    at = [n for n in (100, 150, 230, 350, 530, 800) if ended is None or n <= ended]
    known = [(half := half_of_mean(made[:n])) is not None and WIDER * half <= percent / 100 for n in at]
    assert checks.facts() == {"checked_at": at, "stopped": True}
    assert known == [False] * (len(at) - 1) + [True]
    assert checks({"records": made[:10].tobytes(), "gaps": b""}, {}) is False  # it asks once


def test_a_run_that_is_never_known_well_enough_is_looked_at_less_and_less_often(made, monkeypatch):
    monkeypatch.setattr("vllmperf.loadgen.precision_checks.ThreadPoolExecutor", AtOnce)
    checks = PrecisionChecks({}, quantity("ttft_mean"), parsed("ttft_mean±0.5%"))
    assert told(checks, made) is None
    assert checks.facts() == {"checked_at": [100, 150, 230, 350, 530, 800], "stopped": False}


def test_a_run_with_a_precision_is_not_resumed():
    task = Task.of({**QUICK, "until": "ttft_mean±20%", "num_prompts": 50})
    with pytest.raises(UsageError, match="cannot be resumed"):
        resume_run(task, None)
