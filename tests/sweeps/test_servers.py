"""What a sweep tells of the servers: held against what the simulator wrote down."""

from __future__ import annotations

import json
from collections import Counter

import pytest

import vllmperf as vp
from vllmperf.errors import VllmperfError
from vllmperf.record.scrapes import add_scrapes, read_scrapes

PLAN = {"num_prompts": 24, "input_len": 32, "output_len": 4, "max_concurrency": 6}
REPLICAS = {"replicas": 3, "alpha_ms": 1, "delta_ms": 0, "router": "pow2"}


@pytest.mark.parametrize("form", ["vllm", "ray"])
def test_the_work_of_each_replica_is_what_the_simulator_did_in_the_run(tmp_path, form):
    truth = tmp_path / "truth.jsonl"
    setup = {"name": "sim", "simulator": {**REPLICAS, "metrics": form, "truth": str(truth)}}
    found = vp.sweep({"setups": [setup], "plan": {**PLAN, "text_prompts": True}})
    (point,) = found.points
    assert point.servers is not None
    told = point.servers.to_dict()
    done = Counter(
        row["replica"]
        for row in map(json.loads, truth.read_text().splitlines())
        if str(row.get("x_request_id") or row.get("request_id") or "").startswith(ids(point))
    )
    assert sum(done.values()) == 24
    assert sorted(row["requests"] for row in told["replicas"] if row["requests"]) == sorted(done.values())
    assert told["form"] == form
    assert told["requests"] == 24
    assert sum(row["output_tokens"] for row in told["replicas"]) == 24 * 4
    assert sum(row["prompt_tokens"] for row in told["replicas"]) == 24 * 32
    assert told["notes"] == []


def ids(point) -> str:
    return str(point.run().recording.plan["request_id_prefix"])


def test_token_ids_are_not_sent_to_ray():
    setup = {"name": "ray", "simulator": {**REPLICAS, "metrics": "ray"}}
    found = vp.sweep({"setups": [setup], "plan": PLAN})
    assert found.rows() == []
    assert "text_prompts: true" in found.failures["ray, repeat 1"]


def test_the_prefix_hit_rate_is_that_of_the_run_alone():
    setup = {"name": "sim", "simulator": {"mode": "batching", "alpha_ms": 1, "delta_ms": 0}}
    same = {**PLAN, "input_len": 64}
    found = vp.sweep(
        {
            "setups": [setup],
            "plan": same,
            "points": [{"output_len": 4}, {"output_len": 5}],
            "order": "written",
        }
    )
    first, second = (point.servers.hit_rate for point in found.points)
    assert first == 0
    assert second > 0.7  # the same prompts again: all but the last block of each


def test_a_reset_and_a_salt_leave_nothing_in_the_cache():
    setup = {"name": "sim", "simulator": {"mode": "batching", "alpha_ms": 1, "delta_ms": 0}}
    for reset in ("cache", "salt", "restart"):
        given = {
            "plan": {**PLAN, "input_len": 64},
            "points": [{"output_len": 4}, {"output_len": 5}],
            "reset": reset,
        }
        found = vp.sweep({"setups": [setup], **given})
        assert [point.servers.hit_rate for point in found.points] == [0, 0], reset


def test_rows_have_replicas_series_and_the_gap_between_client_and_server():
    setup = {"name": "sim", "simulator": {**REPLICAS, "front_ms": 0}}
    found = vp.sweep({"setups": [setup], "plan": PLAN, "axes": {"output_len": [250]}})
    (row,) = found.rows()
    assert row["replicas"] == 3
    assert row["server_requests_cv"] is not None
    assert row["ttft_gap_low_ms"] == row["ttft_gap_high_ms"]
    assert [each["setup"] for each in found.replica_rows()] == ["sim"] * 3
    assert {"replica", "t_s", "running", "waiting", "kv_cache_share"} <= found.series_rows()[0].keys()
    assert "servers" in repr(found)
    assert "requests max/min" in repr(found)


def test_a_set_up_without_metrics_is_not_asked():
    found = vp.sweep({"setups": [{"name": "sim", "simulator": {}, "metrics": []}], "plan": PLAN})
    assert found.points[0].servers is None
    assert found.rows()[0]["completed"] == 24
    assert read_scrapes(found.points[0].path) == []


def test_pages_are_kept_in_the_run_file(tmp_path):
    run = vp.bench(sim={"ttft_ms": 1}, num_prompts=2, output_len=2, record=tmp_path / "run.vllmperf")
    assert read_scrapes(run.path) == []
    pages = [(5, "http://a/metrics", "vllm:x 1", False), (9, "http://a/metrics", "", True)]
    add_scrapes(run.path, pages)
    assert read_scrapes(run.path) == pages
    assert vp.open_run(run.path).summary["requests"]["completed"] == 2
    with pytest.raises(VllmperfError, match="cannot be written"):
        add_scrapes(tmp_path / "no" / "run.vllmperf", pages)


def test_the_sweep_says_how_often_its_servers_are_asked(monkeypatch):
    from vllmperf.sweeps import running

    every_s = []

    class Watch(running.Watch):
        def __init__(self, *given) -> None:
            every_s.extend(given[3:])
            super().__init__(*given)

    monkeypatch.setattr(running, "Watch", Watch)
    setup = {"name": "sim", "simulator": {"ttft_ms": 1}}
    vp.sweep({"setups": [setup], "plan": {"num_prompts": 2, "output_len": 2}, "metrics_interval": "250ms"})
    assert every_s == [0.25]


def test_a_look_has_what_the_counters_counted_since_the_first_one():
    found = vp.sweep({"setups": [{"name": "sim", "simulator": REPLICAS}], "plan": PLAN})
    rows = found.series_rows()
    for name in ("requests", "prompt_tokens", "output_tokens", "prefix_queries", "prefix_hits"):
        of_replica = {row["replica"]: row[name] for row in rows}
        first = {row["replica"]: row[name] for row in reversed(rows)}
        assert set(first.values()) == {0}
        told = found.points[0].servers.to_dict()
        if name in told["replicas"][0]:
            assert of_replica == {one["replica"]: one[name] for one in told["replicas"]}
