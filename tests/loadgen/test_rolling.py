"""bench --report-interval: what a run did in each stretch of time, told while it goes and from its file."""

import json
import re

import numpy as np
import pytest

import vllmperf
from vllmperf import _engine
from vllmperf.cli import main
from vllmperf.errors import SettingError
from vllmperf.loadgen.recorded import record_run
from vllmperf.loadgen.rolling import Rolling
from vllmperf.loadgen.session import Turn
from vllmperf.loadgen.task import Task
from vllmperf.record.writer import RunWriter

S = 1_000_000_000
LOAD = {"sim": {"ttft_ms": 20, "itl_ms": 2}, "max_concurrency": 4, "input_len": 4, "output_len": 6}


def batch(*requests):
    """Requests that ended: seconds of the end, outcome, ms of TTFT and of each gap."""
    records = np.zeros(len(requests), dtype=np.dtype(_engine.RECORD_DTYPE))
    gaps = []
    for name in ("first_text_ns", "scheduled_ns", "connected_ns"):
        records[name] = _engine.NONE
    for record, (end_s, outcome, ttft_ms, gap_ms) in zip(records, requests, strict=True):
        record["sent_ns"], record["first_token_ns"] = 0, round(ttft_ms * 1e6)
        record["end_ns"], record["outcome"] = round(end_s * S), _engine.OUTCOMES.index(outcome)
        record["output_tokens"], record["choices"], record["n_gaps"] = len(gap_ms) + 1, 1, len(gap_ms)
        gaps += [(ms * 1e6, 1, 0) for ms in gap_ms]
    packed = np.array(gaps, dtype=[("ns", "<f4"), ("tokens", "<u2"), ("shared", "<u2")])
    names = np.dtype(_engine.GAP_DTYPE).names
    all_gaps = np.zeros(len(gaps), dtype=np.dtype(_engine.GAP_DTYPE))
    for name in names:
        all_gaps[name] = packed[name]
    return {
        "records": records.tobytes(),
        "gaps": all_gaps.tobytes(),
        "stamps": b"",
        "events": b"",
        "bytes": b"",
    }


def turn(now, at_s, *requests, state="running", in_flight=3):
    now.at_ns = round(at_s * S)
    counters = {"start_mono_ns": 1, "in_flight": in_flight}
    return Turn(batch(*requests), counters, {}, state, lambda _: None)


@pytest.fixture
def now(monkeypatch):
    class Now:
        at_ns = 0

    monkeypatch.setattr("vllmperf.loadgen.session.time.monotonic_ns", lambda: Now.at_ns + 1)
    return Now


def test_an_interval_is_told_when_all_that_ended_in_it_has_come(now):
    told = []
    rolling = Rolling(1.0, told.append)
    rolling(turn(now, 0.6, (0.2, "completed", 50, [10, 20])))
    rolling(turn(now, 1.1, (0.7, "refused", 0, [])))
    assert told == []  # a request may have ended between the draining of this turn and the end of the second
    rolling(turn(now, 1.6, (0.95, "completed", 70, [30]), (1.2, "completed", 90, [99])))
    (first,) = told
    assert (first.start_s, first.end_s, first.done, first.completed, first.errors) == (0, 1, 3, 2, 1)
    assert first.requests_per_s == 2
    assert first.output_tokens_per_s == 5
    assert (first.ttft_ms_p50, first.itl_ms_p50) == (60, 20)
    assert first.in_flight == 3


def test_the_end_of_the_run_tells_the_rest(now):
    told = []
    rolling = Rolling(1.0, told.append)
    rolling(turn(now, 0.5))
    rolling(turn(now, 2.6, (1.5, "completed", 50, [5]), (2.25, "incomplete", 1, [])))
    rolling(turn(now, 2.7, state="finished", in_flight=0))
    assert [(one.start_s, round(one.end_s, 6), one.done) for one in told] == [
        (0, 1, 0),
        (1, 2, 1),
        (2, 2.25, 1),
    ]
    assert told[-1].errors == 0
    assert told[-1].ttft_ms_p50 is None


def test_the_rest_of_a_run_goes_on_at_its_time(now):
    told = []
    rolling = Rolling(10.0, told.append, from_ns=25 * S)
    rolling(turn(now, 0.5, (0.1, "completed", 50, [5])))
    rolling(turn(now, 0.6, state="finished"))
    assert [(one.start_s, round(one.end_s, 6)) for one in told] == [(25, 25.1)]


def test_lines_and_summary_say_the_same_and_count_every_request_once(tmp_path):
    told = []
    task = Task.of({**LOAD, "num_prompts": 150, "report_interval": 0.3})
    run = record_run(task, tmp_path / "r", tell=told.append)
    rows = run.summary["intervals"]
    assert sum(row["done"] for row in rows) == 150
    assert len(rows) > 2
    for line, row in zip(told, rows, strict=True):
        for name, value in row.items():
            if name not in ("in_flight", "end_s", "requests_per_s", "output_tokens_per_s"):
                assert getattr(line, name) == value, name
    ends = run.requests["end_ns"]
    assert [row["done"] for row in rows] == np.histogram(ends, np.arange(len(rows) + 1) * 0.3e9)[0].tolist()
    assert rows[-1]["in_flight"] == 0


def test_the_command_prints_lines_to_stderr_and_keeps_stdout_for_json(capsys):
    words = "bench --sim ttft_ms=20,itl_ms=2 --max-concurrency 4 --output-len 6 --num-prompts 120 --no-progress --json"
    assert main([*words.split(), "--report-interval", "300ms"]) in (0, 1)
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)["intervals"]) > 1
    line = r"vllmperf: 0 to 0\.3 s: \d+ done, [\d.]+/s, [\d,]+ tok/s, TTFT p50 .* ms, ITL p50 .* ms, errors 0, in flight \d"
    assert re.match(line, shown.err.splitlines()[0])


def test_a_run_that_was_asked_for_none_has_none():
    run = vllmperf.bench(**LOAD, num_prompts=4)
    assert run.summary["intervals"] is None


def test_a_run_without_any_request_has_no_interval(tmp_path):
    plan = Task.of({**LOAD, "report_interval": 1})
    with RunWriter(tmp_path / "r", plan.plan.to_dict(), {}, facts=plan.facts()) as writer:
        writer.finish("finished", {}, {})
    assert vllmperf.open_run(tmp_path / "r").summary["intervals"] == []


def test_an_interval_that_is_too_short_is_one_clear_line():
    with pytest.raises(SettingError, match=r"report_interval must be at least 0\.1"):
        vllmperf.bench(**LOAD, report_interval=0.01)
