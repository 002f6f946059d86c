"""The alerts for a run of hours: what fires, when, and what does not (promtool's own test of rules)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import parts
import pytest
import yaml

from vllmperf.service.series import LAG_S, LATENCY_S

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
RUN = 'namespace="llm", run="r1"'


def series(name, values, more=""):
    return {"series": f"{name}{{{RUN}{', ' + more if more else ''}}}", "values": values}


def a_run(kind="stress", phase="running"):
    """What there is of every run for 12 hours, minute by minute."""
    return [
        series("vllmperf_run_info", "1+0x720", f'kind="{kind}", model="m"'),
        series("vllmperf_run_phase", "1+0x720", f'phase="{phase}"'),
        series("vllmperf_run_start_timestamp_seconds", "0+0x720"),
    ]


def requests(completed, failed="0+0x720", cut="0+0x720"):
    named = {"completed": completed, "http_error": failed, "incomplete": cut}
    return [
        series("vllmperf_requests_total", values, f'outcome="{outcome}"') for outcome, values in named.items()
    ]


def histogram(name, bounds, slow, bound):
    """60 samples a minute, all of them at most `bound`, `slow` a minute above the bound before it."""
    place = bounds.index(bound)
    found = []
    for i, le in enumerate(bounds):
        each = 60 if i >= place else 60 - slow if i == place - 1 else 0
        found.append(series(f"{name}_bucket", f"0+{each}x720", f'le="{le}"'))
    return [*found, series(f"{name}_bucket", "0+60x720", 'le="+Inf"')]


def fires(alert, at, inputs, tmp_path):
    """Whether promtool finds the alert firing at that time."""
    tests = [
        {
            "interval": "1m",
            "input_series": inputs,
            "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": []}],
        }
    ]
    content = {
        "rule_files": [str(PROMETHEUS / "rule-file.yaml")],
        "evaluation_interval": "1m",
        "tests": tests,
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    ran = subprocess.run(
        [parts.program("promtool"), "test", "rules", file], capture_output=True, text=True, check=False
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0 or (f"alertname: {alert}" in said and "exp:[" in said), said
    return ran.returncode != 0


STEADY = "0+720x720"  # 12 requests/s


def test_the_files_are_valid_rules_and_the_same():
    rules = yaml.safe_load((PROMETHEUS / "rule-file.yaml").read_text(encoding="utf-8"))
    operator = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text(encoding="utf-8"))
    assert operator["kind"] == "PrometheusRule"
    assert operator["spec"]["groups"] == rules["groups"]
    for rule in rules["groups"][1]["rules"]:
        assert rule["for"].endswith("m")
        assert set(rule["annotations"]) == {"summary", "description"}
    subprocess.run([parts.program("promtool"), "check", "rules", PROMETHEUS / "rule-file.yaml"], check=True)


def test_nothing_fires_in_a_run_that_is_well(tmp_path):
    inputs = [
        *a_run(),
        *requests(STEADY),
        *histogram("vllmperf_client_lag_seconds", LAG_S, 30, 1e-4),
        *histogram("vllmperf_schedule_lag_seconds", LAG_S, 30, 1e-4),
        *histogram("vllmperf_itl_seconds", LATENCY_S, 30, 0.02),
        *histogram("vllmperf_ttft_seconds", LATENCY_S, 30, 0.1),
    ]
    for alert in ("VllmperfErrors", "VllmperfThroughputFalling", "VllmperfClientLag"):
        assert not fires(alert, "11h", inputs, tmp_path)


@pytest.mark.parametrize(("failed_a_minute", "alarm"), [(3, False), (36, True)])
def test_errors_above_one_percent_for_minutes_fire(failed_a_minute, alarm, tmp_path):
    inputs = [*a_run(), *requests(STEADY, failed=f"0+{failed_a_minute}x720")]
    assert fires("VllmperfErrors", "30m", inputs, tmp_path) is alarm


def test_the_first_errors_after_hours_without_any_fire(tmp_path):
    inputs = [*a_run(), *requests(STEADY, failed="0+0x600 36+36x120")]
    assert not fires("VllmperfErrors", "10h", inputs, tmp_path)
    assert fires("VllmperfErrors", "10h30m", inputs, tmp_path)


def test_requests_cut_off_at_the_end_of_a_run_are_no_errors(tmp_path):
    inputs = [*a_run(), *requests(STEADY, cut="0+100x720")]
    assert not fires("VllmperfErrors", "1h", inputs, tmp_path)


def test_throughput_that_falls_by_a_fifth_fires_after_ten_minutes_of_it(tmp_path):
    inputs = [*a_run(), *requests("0+720x300 216000+560x420")]
    assert not fires("VllmperfThroughputFalling", "5h", inputs, tmp_path)
    assert not fires("VllmperfThroughputFalling", "5h8m", inputs, tmp_path)
    assert fires("VllmperfThroughputFalling", "5h40m", inputs, tmp_path)


def test_a_slow_decline_over_the_hours_fires(tmp_path):
    level, values = 0, []
    for minute in range(700):
        level += 720 - minute * 720 * 0.3 / 660
        values.append(f"{level:.1f}")
    inputs = [*a_run(), *requests(" ".join(values))]
    assert not fires("VllmperfThroughputFalling", "3h", inputs, tmp_path)
    assert fires("VllmperfThroughputFalling", "10h", inputs, tmp_path)


def test_a_server_that_is_gone_while_the_run_waits_for_it_fires(tmp_path):
    inputs = [*a_run(), *requests("0+720x300 216000+0x420")]
    assert fires("VllmperfThroughputFalling", "5h40m", inputs, tmp_path)


@pytest.mark.parametrize("run", [a_run(kind="sweep"), a_run(phase="finished"), []])
def test_throughput_of_runs_that_change_their_load_or_have_ended_is_no_matter(run, tmp_path):
    inputs = [*run, *requests("0+720x300 216000+300x420")]
    assert not fires("VllmperfThroughputFalling", "6h", inputs, tmp_path)


def test_throughput_at_the_beginning_of_a_run_is_no_matter(tmp_path):
    inputs = [*a_run(), *requests("0+720x5 3600+200x700")]
    assert not fires("VllmperfThroughputFalling", "15m", inputs, tmp_path)


def test_a_client_that_sees_chunks_a_gap_late_fires(tmp_path):
    inputs = [
        *a_run(),
        *histogram("vllmperf_client_lag_seconds", LAG_S, 6, 0.05),
        *histogram("vllmperf_itl_seconds", LATENCY_S, 30, 0.02),
    ]
    assert not fires("VllmperfClientLag", "5m", inputs, tmp_path)
    assert fires("VllmperfClientLag", "30m", inputs, tmp_path)


def test_requests_that_leave_late_fire_also_where_answers_have_one_token(tmp_path):
    inputs = [
        *a_run(),
        *histogram("vllmperf_schedule_lag_seconds", LAG_S, 6, 0.05),
        *histogram("vllmperf_ttft_seconds", LATENCY_S, 30, 0.1),
    ]
    assert fires("VllmperfClientLag", "30m", inputs, tmp_path)
