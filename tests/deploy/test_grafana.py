"""Every query of the dashboards, asked of a real Prometheus that scrapes a real service at work."""

from __future__ import annotations

import subprocess
import time
import urllib.request

import parts
import pytest
from rig import WAIT_S, ask_all, choices, rig, values_of
from test_dashboards import DASHBOARDS, SCRIPT

V1_ONLY = {
    panel.title
    for dashboard in SCRIPT.DASHBOARDS
    for row in dashboard.rows
    for panel in row.panels
    if any(query.v1_only for query in panel.queries)
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with rig(tmp_path_factory.mktemp("rig")) as made:
        yield made


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_of_every_panel_returns_data(made, name):
    assert ask_all(made, DASHBOARDS[name]).empty == {}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_offers_something(made, name):
    chosen = choices(made, DASHBOARDS[name], {})
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            assert values_of(made, variable, chosen), variable["name"]


def test_a_server_of_v0_fills_every_panel_but_those_of_what_it_did_not_have(made):
    found = ask_all(made, DASHBOARDS["vllmperf-server"], but=V1_ONLY, prefix="vllm:", namespace="old")
    assert {title for title, _ in found.empty} == V1_ONLY, found.empty


def test_the_server_behind_ray_serve_is_found_by_its_prefix(made):
    found = ask_all(made, DASHBOARDS["vllmperf-server"], prefix="ray_vllm_", namespace="ray")
    assert found.empty == {}


def test_the_page_of_a_service_at_work_passes_promtools_lint(made):
    with urllib.request.urlopen(f"{made.service}/metrics", timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        page = answer.read()
    promtool = [parts.program("promtool"), "check", "metrics"]
    checked = subprocess.run(promtool, input=page, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_a_run_that_is_chosen_is_the_only_one_shown(made):
    runs = {one["run"]: one["label"] for one in made.ask("series", **{"match[]": "vllmperf_run_info"})}
    assert sorted(runs.values()) == ["long, ray", "long, vllm", "short"]
    for run in runs:
        found = made.ask("query", query=f'count by (run) (vllmperf_ttft_seconds_count{{run=~"{run}"}})')
        assert [one["metric"]["run"] for one in found["result"]] == [run]


def test_the_rules_record_and_alert_on_the_real_series(made):
    until, health = time.monotonic() + WAIT_S, {"unknown"}
    while "unknown" in health and time.monotonic() < until:
        time.sleep(1)
        groups = made.ask("rules")["groups"]
        health = {rule["health"] for group in groups for rule in group["rules"]}
    assert health == {"ok"}
    assert made.has("namespace_run:vllmperf_requests_completed:rate10m")
