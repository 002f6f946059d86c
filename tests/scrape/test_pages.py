"""Pages of metrics of vLLM V0, V1 and both spellings of Ray; windows between pages; histograms."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from vllmperf.errors import VllmperfError
from vllmperf.metrics.replicas import Servers
from vllmperf.scrape.buckets import Histogram, added
from vllmperf.scrape.page import kept, parse
from vllmperf.scrape.totals import totals
from vllmperf.scrape.window import ScrapedPage, replicas

SHARED = Path(os.environ.get("VLLMPERF_SHARED") or Path(__file__).parents[3] / "shared")

V0 = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 3.0
vllm:num_requests_waiting{model_name="m"} 1.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.25
vllm:prompt_tokens_total{model_name="m"} 100.0
vllm:generation_tokens_total{model_name="m"} 40.0
vllm:request_success_total{finished_reason="stop",model_name="m"} 2.0
vllm:request_success_total{finished_reason="length",model_name="m"} 3.0
vllm:time_per_output_token_seconds_bucket{le="0.01",model_name="m"} 30.0
vllm:time_per_output_token_seconds_bucket{le="+Inf",model_name="m"} 35.0
vllm:time_per_output_token_seconds_sum{model_name="m"} 0.4
vllm:time_per_output_token_seconds_count{model_name="m"} 35.0
"""
V1 = """\
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_running{engine="1",model_name="m"} 5.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="m"} 100.0 1764000000000
vllm:generation_tokens_total{engine="0",model_name="m"} 40.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 2.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 3.0
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 100.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 60.0
vllm:iteration_tokens_total_bucket{engine="0",le="8.0",model_name="m"} 2.0
vllm:iteration_tokens_total_bucket{engine="0",le="+Inf",model_name="m"} 4.0
vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 140.0
vllm:iteration_tokens_total_count{engine="0",model_name="m"} 4.0
"""


def as_ray(text: str, colon: str) -> str:
    """The same of a replica of Ray."""
    return text.replace("vllm:", f"ray_vllm{colon}").replace(
        'engine="0"', 'ReplicaId="r9",WorkerId="w",engine="0"'
    )


def test_every_version_and_router_gives_the_same_names():
    for text, replica in ((V0, "0"), (V1, "0"), (as_ray(V1, "_"), "r9"), (as_ray(V1, ":"), "r9")):
        series = parse(text).replicas[replica]
        assert series.counters["request_success_total"] == 5
        assert (series.counters["prompt_tokens_total"], series.counters["generation_tokens_total"]) == (
            100,
            40,
        )
        assert series.gauges["kv_cache_usage_perc"] == 0.25
        assert (series.gauges["num_requests_running"], series.gauges["num_requests_waiting"]) == (3, 1)


def test_old_names_are_those_of_today():
    assert parse(V0).replicas["0"].histograms["inter_token_latency_seconds"].counts == (30, 35)
    old = parse('vllm:gpu_prefix_cache_hits_total{engine="0"} 7.0').replicas["0"]
    assert old.counters == {"prefix_cache_hits_total": 7}
    ray = parse('ray_vllm:prompt_tokens{replica_id="a"} 7.0').replicas["a"]
    assert ray.counters == {"prompt_tokens_total": 7}


def test_a_histogram_whose_name_ends_in_total_is_a_histogram():
    series = parse(V1).replicas["0"]
    assert series.histograms["iteration_tokens_total"].mean == 35
    assert not [name for name in series.counters if name.startswith("iteration")]


def test_sums_of_rays_histograms_give_no_mean():
    ray = parse(as_ray(V1, "_"))
    assert ray.is_ray
    assert ray.replicas["r9"].histograms["iteration_tokens_total"].mean is None
    assert "iteration_tokens_total_sum" not in totals(as_ray(V1, "_"))
    assert totals(as_ray(V1, "_"))["prompt_tokens_total"] == 100
    assert totals(V1)["iteration_tokens_total_sum"] == 140


def test_engines_of_vllm_and_replicas_of_ray_stand_apart():
    assert set(parse(V1).replicas) == {"0", "1"}
    for label in ("ReplicaId", "replica", "replica_id"):
        assert set(parse(f'ray_vllm_num_requests_running{{{label}="x",engine="0"}} 1').replicas) == {"x"}


def test_brief_pages_have_the_load_and_no_histograms():
    for text in (V0, V1, as_ray(V1, "_")):
        brief, whole = (parse(kept(text, is_brief)) for is_brief in (True, False))
        for name, series in whole.replicas.items():
            assert brief.replicas[name].counters == series.counters
            assert brief.replicas[name].gauges == series.gauges
            assert brief.replicas[name].histograms == {}


# ---- windows ----


def counted(value: float, replica: str = "0", running: float | None = None) -> str:
    gauge = "" if running is None else f'vllm:num_requests_running{{engine="{replica}"}} {running}\n'
    return f'vllm:request_success_total{{engine="{replica}"}} {value}\n{gauge}'


def scraped(*texts: str, source: str = "a") -> list[ScrapedPage]:
    return [
        ScrapedPage(second * 10**9, source, parse(text), 0 < second < len(texts) - 1)
        for second, text in enumerate(texts)
    ]


def test_a_window_has_what_came_in_it_and_nothing_from_before():
    (found,) = replicas(scraped(counted(1000), counted(1003), counted(1010)))
    assert (found.counters, found.restarts) == ({"request_success_total": 10}, 0)


def test_a_restart_is_noticed_and_what_came_on_both_sides_counts():
    (found,) = replicas(scraped(counted(1000), counted(1003), counted(2), counted(6)))
    assert (found.counters["request_success_total"], found.restarts) == (9, 1)


def test_a_replica_that_comes_later_counts_from_0():
    found = replicas(scraped(counted(5), counted(6) + counted(2, "1"), counted(7) + counted(4, "1")))
    assert [(one.name, one.counters["request_success_total"]) for one in found] == [("0", 2), ("1", 4)]


def test_replicas_of_one_name_at_two_addresses_stand_apart():
    both = scraped(counted(1), counted(3)) + scraped(counted(1), counted(9), source="b")
    found = {one.name: one.counters["request_success_total"] for one in replicas(both)}
    assert found == {"0 at a": 2, "0 at b": 8}


def test_gauges_are_means_over_time_and_a_missing_one_is_no_zero():
    running = (0, 4, None, 8, 9, 0)  # the first and the last one are of before and after the load
    pages = [counted(second, running=number) for second, number in enumerate(running)]
    (one,) = Servers(scraped(*pages), 0, 3, []).to_dict()["replicas"]
    assert one["running"] == {"mean": (4 * 2 + 8 * 1) / 3, "max": 9}
    assert one["waiting"] is None
    assert one["prefix_hit_rate"] is None


def test_the_spread_over_replicas_is_of_the_window():
    before, after = counted(500) + counted(1, "1"), counted(530) + counted(11, "1")
    found = Servers(scraped(before, after), 0, 40, [])
    assert found.spread("request_success_total") == {"cv": 0.5, "max_over_min": 3}


def test_what_the_servers_counted_beside_ours_is_said():
    found = Servers(scraped(counted(0), counted(50)), 0, 40, [])
    assert found.to_dict()["notes"] == [
        "the replicas counted 50 requests, we completed 40: others were served too"
    ]
    found = Servers(scraped(counted(0), counted(30)), 0, 40, [])
    assert "some pages are old or missing" in found.to_dict()["notes"][0]


# ---- histograms ----


def histogram(*counts: float, total: float | None = None) -> Histogram:
    return Histogram((0.1, 0.2, math.inf), counts, total)


def test_buckets_are_added_before_a_quantile_is_taken():
    many, few = histogram(100, 100, 100), histogram(0, 10, 100)
    assert many.quantile(0.5) == (0.0, 0.1)
    assert few.quantile(0.5) == (0.2, math.inf)
    both = added([many, few])
    assert both is not None
    assert both.counts == (100, 110, 200)
    assert both.quantile(0.5) == (0.0, 0.1)
    assert both.quantile(0.52) == (0.1, 0.2)


def test_a_quantile_needs_values_beyond_it():
    assert histogram(10, 39, 39).quantile(0.5) is None
    assert histogram(10, 40, 40).quantile(0.5) == (0.1, 0.2)
    assert histogram(1000, 1900, 1999).quantile(0.99) is None


def test_the_mean_is_of_the_window():
    since = histogram(4, 8, 10, total=3.0).since(histogram(4, 4, 4, total=0.2))
    assert since.counts == (0, 4, 6)
    assert since.mean == pytest.approx(2.8 / 6)


def test_other_buckets_are_refused():
    with pytest.raises(VllmperfError, match="other buckets"):
        added([histogram(1, 2, 3), Histogram((0.5, math.inf), (1, 2), None)])


# ---- real pages ----


def real(path: str) -> str:
    if not (SHARED / path).exists():
        pytest.skip(f"no recorded pages: {SHARED / path} is not there")
    return (SHARED / path).read_text()


@pytest.mark.parametrize("version", ["0.13.0", "0.21.0", "0.32.0"])
def test_real_pages_of_vllm(version):
    folder = f"vllm_cpu/recorded/{version}/http/get_metrics_"
    found = Servers(scraped(real(f"{folder}before.http"), real(f"{folder}after.http")), 0, 1, [])
    (one,) = found.to_dict()["replicas"]
    assert one["requests"] > 0
    assert one["output_tokens"] > 0
    assert found.ttft is not None
    assert found.ttft.mean is not None


def test_a_real_page_of_ray_serve_llm():
    page = parse(real("ray/samples/metrics_vllm.txt"))
    assert page.is_ray
    assert set(page.replicas) == {"ugcb70mh", "d7vr9fkm"}
    for series in page.replicas.values():
        assert {
            "prompt_tokens_total",
            "prefix_cache_hits_total",
            "request_success_total",
        } <= series.counters.keys()
        assert set(series.gauges) == {"num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"}
