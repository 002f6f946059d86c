"""Sweeps over real Ray Serve and its routers, with a small application for a model: tests/dropin/ray_app.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import ray_serve

import vllmperf as vp
from vllmperf.sweeps.setups import processes, read_setup, wait_ready
from vllmperf.sweeps.setups.setup import slug

APP = Path(__file__).parents[1] / "dropin"
PLAN = {
    "dataset_name": "prefix_repetition",
    "prefix_repetition_num_prefixes": 12,
    "prefix_repetition_prefix_len": 300,
    "prefix_repetition_suffix_len": 20,
    "prefix_repetition_output_len": 4,
    "num_prompts": 96,
    "max_concurrency": 4,
    "model": "tiny",
}

ray_serve.skip_without_ray()


def setup(
    name: str, router: str, applications: Callable[[], list[dict[str, object]]] = ray_serve.applications
) -> dict[str, object]:
    return {
        "name": name,
        "ray_serve": {"applications": applications()},
        "router": router,
        "cwd": str(APP),
        "env": {"PATH": ray_serve.PATH, "PYTHONDONTWRITEBYTECODE": ""},
        "ray_arguments": ray_serve.ARGUMENTS,
        "ready_timeout": 300,
        "plan": {"model": "tiny"},
    }


def test_rays_prefix_router_hits_the_caches_more_often_than_power_of_two(tmp_path):
    given = {"setups": [setup("pow2", "pow2"), setup("prefix", ray_serve.PREFIX_ROUTER)], "plan": PLAN}
    found = vp.sweep(given, output=tmp_path / "s")
    assert found.failures == {}
    pow2, prefix = (next(row for row in found.rows() if row["setup"] == name) for name in ("pow2", "prefix"))
    assert pow2["completed"] == prefix["completed"] == 96
    assert pow2["replicas"] == prefix["replicas"] == 2
    for point in found.points:
        told = point.servers.to_dict()
        assert (told["form"], told["requests"], told["notes"]) == ("ray", 96, [])
    assert prefix["server_prefix_hit_rate"] > pow2["server_prefix_hit_rate"] + 0.05
    events = [json.loads(line) for line in (tmp_path / "s/events.jsonl").read_text().splitlines()]
    marks = [event["mark"] for event in events if event["event"] == "server_started"]
    assert len(marks) >= 2  # a Ray each
    assert [pid for mark in marks for pid in processes.Family(mark).pids()] == []


def test_both_data_paths_of_ray_serve_through_haproxy_are_measured_on_one_machine(tmp_path):
    mine = {**setup("ray", "round_robin", ray_serve.built), "axes": {"data_path": ["haproxy", "direct"]}}
    found = vp.sweep({"setups": [mine], "plan": PLAN, "order": "written"}, output=tmp_path / "s")
    assert found.failures == {}
    assert [row["completed"] for row in found.rows()] == [96, 96]
    for point, answers in zip(found.points, ("small:Ingress", "small:Choice"), strict=True):
        assert len(point.servers.to_dict()["replicas"]) == 2
        log = (tmp_path / f"s/logs/{slug(point.point.setup.name)}_stderr.log").read_text()
        assert "(HAProxyManager pid" in log
        assert f"(ServeReplica:{answers} pid" in log


def test_token_ids_hang_in_rays_prefix_router_and_bench_says_so(tmp_path):
    one = read_setup(setup("prefix", ray_serve.PREFIX_ROUTER))
    server = one.start(tmp_path)
    try:
        wait_ready(server, one.task(server.base_url, {}), one.ready_timeout)
        run = vp.bench(
            server.base_url, model="tiny", num_prompts=2, input_len=8, output_len=2, first_token_timeout=2
        )
    finally:
        server.stop()
    assert run.summary["requests"]["completed"] == 0
    assert "Ray Serve's prefix router" in json.dumps(run.summary)
