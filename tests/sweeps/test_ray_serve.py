"""Set-ups of Ray Serve: what Serve is given, and the course with a stand-in for Ray. test_ray.py has the real one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import vllmperf as vp
from vllmperf.errors import UsageError
from vllmperf.sweeps.definition import definition_of
from vllmperf.sweeps.setups import processes
from vllmperf.sweeps.setups.ray_serve import RayServe

OWN = {"name": "Model", "num_replicas": 2, "request_router_config": {"request_router_class": "any"}}
SERVE = {"applications": [{"name": "app", "import_path": "app:build", "deployments": [OWN]}]}
PLAN = {"num_prompts": 4, "input_len": 4, "output_len": 3, "model": "sim"}


def routing(**given: object) -> dict[str, object]:
    config = RayServe(ray_serve=SERVE, **given).config(8000)
    found: dict[str, object] = config["applications"][0]["deployments"][0]["request_router_config"]
    return found


def test_the_router_goes_to_the_deployment_that_has_one_with_its_thresholds():
    prefix = routing(router="prefix_aware")
    assert prefix["request_router_class"] == "ray.serve.llm.request_router.PrefixCacheAffinityRouter"
    assert prefix["request_router_kwargs"] == {"imbalanced_threshold": 10.0, "match_rate_threshold": 0.1}
    assert routing(router="pow2") == {
        "request_router_class": "ray.serve._private.request_router:PowerOfTwoChoicesRequestRouter"
    }
    assert routing() == {"request_router_class": "any"}
    mine = routing(router="my.module:PrefixCacheAffinityRouter", imbalanced_threshold=4)
    assert mine["request_router_class"] == "my.module:PrefixCacheAffinityRouter"
    assert mine["request_router_kwargs"] == {"imbalanced_threshold": 4.0, "match_rate_threshold": 0.1}


def test_axes_choose_routers_and_thresholds_and_fill_the_configuration(tmp_path):
    path = tmp_path / "serve.yaml"
    path.write_text(json.dumps(SERVE).replace("2", '"{replicas}"'))
    axes = {"router": ["pow2", "prefix_aware"], "imbalanced_threshold": [1, "inf"], "replicas": [3]}
    found = definition_of({"setups": [{"name": "ray", "ray_serve": str(path), "axes": axes}]}).setups
    assert [(one.how.router, one.how.imbalanced_threshold) for one in found] == [
        ("pow2", 1.0),
        ("pow2", float("inf")),
        ("prefix_aware", 1.0),
        ("prefix_aware", float("inf")),
    ]
    assert found[0].how.config(1)["applications"][0]["deployments"][0]["num_replicas"] == "3"


def test_the_data_path_is_an_axis_of_variables_for_all_of_ray():
    (proxy, direct) = definition_of(
        {"setups": [{"ray_serve": SERVE, "env": {"MINE": "1"}, "axes": {"data_path": ["proxy", "direct"]}}]}
    ).setups
    assert (proxy.name, direct.name) == ("ray_serve1 data_path=proxy", "ray_serve1 data_path=direct")
    off, on = proxy.how.variables(), direct.how.variables()
    assert (off["RAY_SERVE_ENABLE_HA_PROXY"], off["RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING"]) == ("0", "0")
    assert (on["RAY_SERVE_ENABLE_HA_PROXY"], on["RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING"]) == ("1", "1")
    assert on["RAY_SERVE_INGRESS_REQUEST_ROUTER_FORWARD_BODY"] == "1"  # else prefix routers see no prompt
    assert on["MINE"] == "1"
    assert on["RAY_SERVE_HAPROXY_STATS_PORT"] != direct.how.variables()["RAY_SERVE_HAPROXY_STATS_PORT"]


def test_without_a_data_path_it_is_that_of_the_environment():
    given = RayServe(ray_serve=SERVE, env={"RAY_SERVE_ENABLE_HA_PROXY": "1"}).variables()
    assert given["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING" not in given


def test_made_up_prompts_go_to_ray_as_text():
    setups = [{"name": "ray", "ray_serve": SERVE, "router": "pow2"}]
    assert definition_of({"setups": setups}).plan["text_prompts"] is True
    with pytest.raises(UsageError, match="set-up ray: Ray's prefix router takes a prompt of token ids"):
        definition_of({"setups": setups, "plan": {"text_prompts": False}})


def test_secrets_of_replicas_are_not_written_out():
    env = {"runtime_env": {"env_vars": {"HF_TOKEN": "hush", "OMP_NUM_THREADS": "1"}}}
    serve = {"applications": [{**SERVE["applications"][0], "args": {"llm_configs": [env]}}]}
    written = json.dumps(definition_of({"setups": [{"ray_serve": serve}]}).to_dict())
    assert "hush" not in written
    assert "OMP_NUM_THREADS" in written


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ray_serve": "none.yaml"}, "cannot read none.yaml"),
        ({"ray_serve": {"import_path": "a:b"}}, "has no list of applications"),
        ({"ray_serve": SERVE, "router": "least_loaded"}, "Ray Serve has no router least_loaded"),
        ({"ray_serve": {"applications": []}, "router": "pow2"}, "has a request_router_config"),
        ({"ray_serve": SERVE, "imbalanced_threshold": -1}, "imbalanced_threshold must be at least 0"),
        ({"ray_serve": SERVE, "data_path": "nginx"}, "data_path must be one of proxy, haproxy, direct"),
        ({"ray_serve": SERVE, "axes": {"data_path": ["direct", 1]}}, "data_path must be one of"),
    ],
)
def test_what_is_wrong_with_a_set_up_of_ray_is_said_in_one_line(given, words):
    with pytest.raises(UsageError, match=r".") as error:
        definition_of({"setups": [given]})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# ---- a stand-in: `ray start` writes down its words, `serve run` starts a simulator on the configuration's port ----

RAY = """#!/bin/sh
echo "$@" >> {folder}/ray.txt
echo "$RAY_SERVE_ENABLE_HA_PROXY" >> {folder}/haproxy.txt
[ ! -e {folder}/slow ] || {{ rm {folder}/slow; echo the node timed out >&2; exit 1; }}
"""
SERVE_RUN = """#!{python}
import json, os, sys
port = json.load(open(sys.argv[3]))["http_options"]["port"]
os.execv(sys.executable, [sys.executable, "-m", "vllmperf", "sim", "--port", str(port), "--ttft-ms", "1"])
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment with the stand-in in its PATH."""
    for name, text in (("ray", RAY), ("serve", SERVE_RUN)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(folder=tmp_path, python=sys.executable))
        path.chmod(0o755)
    return {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def sweep(tmp_path: Path, env: dict[str, str]) -> tuple[vp.Sweep, list[dict[str, object]]]:
    setups = [
        {"name": name, "ray_serve": SERVE, "router": name, "env": env, "ready_timeout": 30}
        for name in ("pow2", "prefix_aware")
    ]
    found = vp.sweep({"setups": setups, "plan": PLAN, "order": "written"}, output=tmp_path / "s")
    return found, [json.loads(line) for line in (tmp_path / "s/events.jsonl").read_text().splitlines()]


def test_each_set_up_has_a_ray_of_its_own_on_free_ports(tmp_path, env):
    found, events = sweep(tmp_path, env)
    assert found.is_complete
    starts = [line.split() for line in (tmp_path / "ray.txt").read_text().splitlines()]
    assert len(starts) == 2
    assert all('{"metrics_report_interval_ms":' in " ".join(words) for words in starts)
    assert len({word for words in starts for word in words if "port=" in word}) == 6
    given = json.loads((tmp_path / "s/logs/prefix_aware_serve_config.yaml").read_text())
    assert "PrefixCacheAffinityRouter" in json.dumps(given)
    assert not [
        pid for event in events if "mark" in event for pid in processes.Family(str(event["mark"])).pids()
    ]


def test_ray_starts_with_the_variables_of_the_data_path(tmp_path, env):
    setup = {"name": "ray", "ray_serve": SERVE, "env": env, "axes": {"data_path": ["proxy", "haproxy"]}}
    found = vp.sweep({"setups": [setup], "plan": PLAN, "order": "written"}, output=tmp_path / "s")
    assert found.is_complete
    assert (tmp_path / "haproxy.txt").read_text().split() == ["0", "1"]


def test_a_ray_that_did_not_start_is_started_once_more(tmp_path, env, capsys):
    (tmp_path / "slow").touch()
    assert sweep(tmp_path, env)[0].is_complete
    assert len((tmp_path / "ray.txt").read_text().splitlines()) == 3


def test_without_ray_the_set_up_is_left_out_with_a_remedy(tmp_path):
    found, _ = sweep(tmp_path, {"PATH": "/nowhere"})
    assert "pip install 'ray[serve]'" in found.failures["pow2"]
