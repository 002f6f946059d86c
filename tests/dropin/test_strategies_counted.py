"""What the replicas counted during a benchmark, all together."""

import os
from pathlib import Path

import pytest

from vllmperf.dropin.strategies.counted import Counted
from vllmperf.dropin.strategies.tables import COUNTERS, TIMES
from vllmperf.scrape.names import RENAMED
from vllmperf.scrape.page import parse
from vllmperf.scrape.window import ScrapedPage, replicas

SHARED = Path(os.environ.get("VLLMPERF_SHARED", Path(__file__).parents[3] / "shared"))
TTFT = "time_to_first_token_seconds"


def page(*engines, prefix="vllm:", label="engine"):
    """engines: name, requests, sum of their TTFTs, all between 0.1 and 0.25 s."""
    lines = []
    for name, count, total in engines:
        labels = f'{label}="{name}",model_name="m"'
        lines += [
            f"{prefix}request_success_total{{{labels}}} {count}",
            f'{prefix}{TTFT}_bucket{{le="0.1",{labels}}} 0',
            f'{prefix}{TTFT}_bucket{{le="0.25",{labels}}} {count}',
            f'{prefix}{TTFT}_bucket{{le="+Inf",{labels}}} {count}',
            f"{prefix}{TTFT}_sum{{{labels}}} {total}",
            f"{prefix}{TTFT}_count{{{labels}}} {count}",
        ]
    return "\n".join(lines) + "\n"


def counted(*texts):
    pages = [ScrapedPage(number, "url", parse(text)) for number, text in enumerate(texts)]
    return Counted(replicas(pages), pages[-1].page.is_ray)


def test_counters_are_summed_and_means_weighted_by_what_each_replica_did_in_the_window():
    found = counted(page(("0", 10, 9.0), ("1", 0, 0.0)), page(("0", 11, 9.2), ("1", 3, 0.36)))
    assert found.total("request_success_total") == 4
    assert found.mean(TTFT) == pytest.approx(
        0.56 / 4
    )  # neither 0.16, the mean of means, nor anything of before
    assert found.total("no_such_total") is None
    assert found.mean("no_such_seconds") is None


def test_of_ray_a_mean_has_bounds_alone():
    ray = {"prefix": "ray_vllm_", "label": "ReplicaId"}
    found = counted(page(("a", 1, 0.175), **ray), page(("a", 5, 0.875), **ray))
    assert found.mean(TTFT) is None
    assert found.mean_bounds(TTFT) == pytest.approx((0.1, 0.25))
    assert found.total("request_success_total") == 4


def test_what_is_above_the_last_bound_has_no_upper_bound():
    one_is_above = ('le="0.25",engine="0",model_name="m"} 2', 'le="0.25",engine="0",model_name="m"} 1')
    before, after = page(("0", 0, 0.0)), page(("0", 2, 9.0)).replace(*one_is_above)
    assert counted(before, after).mean_bounds(TTFT) is None
    assert counted(before, before).mean_bounds(TTFT) is None


@pytest.mark.parametrize("version", ["0.13.0", "0.21.0", "0.32.0"])
def test_recorded_pages_of_vllm_give_all_that_the_guide_lists(version):
    folder = SHARED / "vllm_cpu" / "recorded" / version / "http"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: set VLLMPERF_SHARED")
    found = counted(*((folder / f"get_metrics_{when}.http").read_text() for when in ("before", "after")))
    assert all((found.total(name) or 0) > 0 for name in COUNTERS)
    assert all((found.mean(RENAMED.get(name, name)) or 0) > 0 for name in TIMES if "queue" not in name)


def test_a_recorded_page_of_ray_has_two_replicas():
    path = SHARED / "ray" / "samples" / "metrics_vllm.txt"
    if not path.is_file():
        pytest.skip(f"{path} is not there: set VLLMPERF_SHARED")
    found = counted("", path.read_text())
    assert len(found.replicas) == 2
    assert found.total("request_success_total") > 0
    assert found.mean(TTFT) is None
