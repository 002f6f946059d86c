"""Names of single numbers of a run, as --fail-if and --until take them."""

import pytest

from vllmperf.errors import UsageError
from vllmperf.metrics.definitions import FIGURES, METRICS
from vllmperf.metrics.quantity import of_figure, of_metric, quantity


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ttft_p99", "ttft_p99"),
        ("ttft_scheduled_p99.9", "ttft_scheduled_p99.9"),
        ("itl_token_mean", "itl_token_mean"),
        ("p99_ttft", "ttft_p99"),
        ("median_itl_ms", "itl_p50"),
        ("E2EL-mean", "e2el_mean"),
        ("p50_ttft_scheduled", "ttft_scheduled_p50"),
        ("request_throughput", "requests_per_s"),
        ("goodput_share", "goodput_share"),
    ],
)
def test_a_number_is_found_by_its_name_in_either_order_and_by_that_of_vllm(text, name):
    assert quantity(text).name == name


def test_every_figure_and_every_metric_has_a_name_that_finds_it():
    for figure in FIGURES:
        assert quantity(of_figure(figure).name).figure is figure
    for metric in METRICS:
        assert quantity(of_metric(metric, "p95").name).metric is metric


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tttf_p99", "did you mean ttft_p99?"),
        ("ttft", "such as ttft_p99"),
        ("ttft_p101", "did you mean ttft_p"),
        ("request_per_s", "did you mean requests_per_s?"),
        ("", "known are such as"),
    ],
)
def test_a_name_that_there_is_not_brings_the_nearest_one(text, hint):
    with pytest.raises(UsageError, match="there is no metric") as caught:
        quantity(text)
    assert hint in str(caught.value)


def test_a_value_that_was_not_measured_is_none():
    summary = {"metrics": {"ttft_ms": None, "itl_ms": {"mean": 2.0}}, "throughput": {"requests_per_s": None}}
    assert quantity("ttft_p99").of(summary) is None
    assert quantity("itl_mean").of(summary) == 2.0
    assert quantity("requests_per_s").of(summary) is None
