"""Counts of replicas in the forms of V0, V1 and Ray, and what was counted between two pages."""

import os
from pathlib import Path

import pytest

from vllmperf.scrape.replicas import Counts, between, counts

SHARED = Path(os.environ.get("VLLMPERF_SHARED", Path(__file__).parents[3] / "shared"))

V0 = """\
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{model_name="m"} 10
# TYPE vllm:request_success_total counter
vllm:request_success_total{finished_reason="stop",model_name="m"} 2
vllm:request_success_total{finished_reason="length",model_name="m"} 3
# TYPE vllm:time_per_output_token_seconds histogram
vllm:time_per_output_token_seconds_bucket{le="0.1",model_name="m"} 3
vllm:time_per_output_token_seconds_bucket{le="0.2",model_name="m"} 4
vllm:time_per_output_token_seconds_bucket{le="+Inf",model_name="m"} 4
vllm:time_per_output_token_seconds_sum{model_name="m"} 0.4
vllm:time_per_output_token_seconds_count{model_name="m"} 4
"""


def ray(replica, count, total, form="ray_vllm_"):
    labels = f'ReplicaId="{replica}",WorkerId="w{replica}",engine="0",model_name="m"'
    return f"""\
# TYPE {form}generation_tokens_total counter
{form}generation_tokens_total{{{labels}}} {10 * count}
# TYPE {form}time_to_first_token_seconds histogram
{form}time_to_first_token_seconds_bucket{{le="0.1",{labels}}} 0
{form}time_to_first_token_seconds_bucket{{le="0.25",{labels}}} {count}
{form}time_to_first_token_seconds_bucket{{le="+Inf",{labels}}} {count}
{form}time_to_first_token_seconds_sum{{{labels}}} {total}
{form}time_to_first_token_seconds_count{{{labels}}} {count}
"""


def test_a_name_of_v0_is_read_under_todays():
    found = counts([V0])
    assert found.total("request_success_total") == 5
    assert found.mean("inter_token_latency_seconds") == pytest.approx(0.1)
    assert found.mean("time_per_output_token_seconds") is None


def test_replicas_of_several_pages_are_told_apart_and_their_means_weighted():
    found = counts([ray("a", 1, 0.2, "ray_vllm:"), ray("b", 3, 0.3, "ray_vllm:")])
    assert found.replicas == ["a", "b"]
    assert found.total("generation_tokens_total") == 40
    assert found.mean("time_to_first_token_seconds") == pytest.approx(0.5 / 4)  # not the mean of 0.2 and 0.1


def test_sums_that_ray_makes_of_buckets_give_bounds_but_no_mean():
    found = counts([ray("a", 2, 0.35)])
    assert found.mean("time_to_first_token_seconds") is None
    assert found.bounds("time_to_first_token_seconds") == pytest.approx((0.1, 0.25))
    assert found.total("generation_tokens_total") == 20


def test_only_the_window_counts():
    before, after = counts([ray("a", 2, 0.9, "ray_vllm:")]), counts([ray("a", 5, 1.5, "ray_vllm:")])
    found = between(before, after)
    assert found.total("generation_tokens_total") == 30
    assert found.mean("time_to_first_token_seconds") == pytest.approx(0.2)


def test_a_replica_that_restarted_counts_from_nothing_and_a_new_one_too():
    before = counts([ray("a", 9, 0.9, "ray_vllm:")])
    after = counts([ray("a", 2, 0.4, "ray_vllm:"), ray("b", 1, 0.2, "ray_vllm:")])
    found = between(before, after)
    assert found.total("generation_tokens_total") == 30
    assert found.mean("time_to_first_token_seconds") == pytest.approx(0.2)


def test_what_is_above_the_last_bound_has_no_upper_bound():
    page = V0.replace('le="+Inf",model_name="m"} 4', 'le="+Inf",model_name="m"} 5')
    assert counts([page]).bounds("inter_token_latency_seconds") is None


def test_a_page_without_vllm_has_no_counts():
    assert counts(["# TYPE up gauge\nup 1\n"]) == Counts()


@pytest.mark.parametrize("version", ["0.13.0", "0.21.0", "0.32.0"])
def test_recorded_pages_of_vllm_give_all_that_the_guide_lists(version):
    from vllmperf.dropin.strategies.tables import COUNTERS, TIMES
    from vllmperf.scrape.replicas import TODAY

    folder = SHARED / "vllm_cpu" / "recorded" / version / "http"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: set VLLMPERF_SHARED")
    pages = [
        (folder / f"get_metrics_{when}.http").read_text().partition("\n# ")[2] for when in ("before", "after")
    ]
    found = between(*(counts(["# " + page]) for page in pages))
    assert all(found.total(name) is not None for name in COUNTERS)
    assert found.total("request_success_total") > 0
    assert all((found.mean(TODAY.get(name, name)) or 0) > 0 for name in TIMES if "queue" not in name)


def test_a_recorded_page_of_ray_has_two_replicas():
    path = SHARED / "ray" / "samples" / "metrics_vllm.txt"
    if not path.is_file():
        pytest.skip(f"{path} is not there: set VLLMPERF_SHARED")
    found = counts([path.read_text()])
    assert len(found.replicas) == 2
    assert found.total("request_success_total") > 0
    assert found.mean("time_to_first_token_seconds") is None
