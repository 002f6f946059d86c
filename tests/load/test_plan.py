"""Plans: what is accepted, how refusals read, what reaches the run file."""

import json
import math

import pytest

from vllmperf.errors import UsageError
from vllmperf.plan import BACKENDS, Plan

URL = "http://127.0.0.1:8000"

REFUSED = [
    ({"base_url": "127.0.0.1:8000"}, "--base-url"),
    ({"base_url": "ftp://h"}, "--base-url"),
    ({"base_url": "http://h:port"}, "--base-url"),
    ({"base_url": "http://me:hush@h"}, "user name or password"),
    ({"backend": "tgi"}, "--backend"),
    ({"endpoint": "v1/completions"}, "--endpoint"),
    ({"endpoint": "/v1/chat/completions"}, "--endpoint"),
    ({"backend": "openai-chat", "endpoint": "/v1/completions"}, "--endpoint"),
    ({"headers": {"a": "b\r\nc: d"}}, "--header"),
    ({"headers": {"a:b": "c"}}, "--header"),
    ({"api_key": "k\n"}, "API key"),
    ({"cacert": "/nowhere.pem"}, "--cacert"),
    ({"request_rate": 0}, "--request-rate"),
    ({"request_rate": math.nan}, "--request-rate"),
    ({"request_rate": 1e300}, "--request-rate"),
    ({"request_rate": "10"}, "--request-rate"),
    ({"burstiness": 0, "request_rate": 1}, "--burstiness"),
    ({"burstiness": 2}, "--burstiness"),
    ({"max_concurrency": 0}, "--max-concurrency"),
    ({"max_concurrency": 1.5}, "whole number"),
    ({"num_prompts": -1}, "--num-prompts"),
    ({"num_prompts": True}, "--num-prompts"),
    ({"duration_s": 0}, "--duration"),
    ({"seed": -1}, "--seed"),
    ({"seed": 2**32}, "--seed"),
    ({"arrival": "sometimes"}, "--arrival"),
    ({"arrival": "trace"}, "--arrival-file"),
    ({"arrival_file": "x"}, "--arrival trace"),
    ({"arrival": "poisson"}, "--request-rate"),
    ({"arrival": "trace", "arrival_file": "x", "request_rate": 1}, "--request-rate"),
    ({"num_prompts": None}, "needs an end"),
    ({"num_prompts": None, "duration_s": 1}, "without limit"),
    ({"dataset_name": "pile"}, "--dataset-name"),
    ({"dataset_name": "sharegpt"}, "--dataset-path"),
    ({"dataset_path": "x"}, "--dataset-path"),
    ({"input_len": 0}, "--input-len"),
    ({"output_len": 2.5}, "--output-len"),
    ({"random_range_ratio": 1.0}, "--random-range-ratio"),
    ({"stall_timeout_s": 0}, "--stall-timeout"),
    ({"grace_period_s": -1}, "--grace-period"),
    ({"percentile_metrics": ("speed",)}, "--percentile-metrics"),
    ({"metric_percentiles": (101.0,)}, "--metric-percentiles"),
    ({"goodput": {"itl": 1.0}}, "--goodput"),
    ({"goodput": {"ttft": -1.0}}, "--goodput"),
]


@pytest.mark.parametrize(("settings", "names"), REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line_that_names_the_flag(settings, names):
    with pytest.raises(UsageError) as refused:
        Plan(**{"base_url": URL, **settings})
    assert names in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_prompts": None, "duration_s": 1, "max_concurrency": 4},
        {"num_prompts": None, "duration_s": 1, "request_rate": 2},
        {"num_prompts": None, "arrival": "trace", "arrival_file": "x"},
        {"request_rate": 5, "burstiness": 0.3, "max_concurrency": 2},
        {"endpoint": "/proxy/v1/completions"},
        {"grace_period_s": 0},
    ],
)
def test_what_makes_sense_is_accepted(settings):
    Plan(**{"base_url": URL, **settings})


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_path_follows_the_backend_unless_it_is_given(backend):
    assert Plan(base_url=URL + "/", backend=backend).url == URL + BACKENDS[backend]
    path = "/other" + BACKENDS[backend]
    assert Plan(base_url=URL, backend=backend, endpoint=path).url == URL + path


def test_no_secret_is_in_what_goes_to_the_run_file_or_in_the_repr():
    headers = {
        "Authorization": "Bearer sesame1",
        "X-Auth-Token": "sesame2",
        "Cookie": "sesame3",
        "X-Team": "blue",
    }
    plan = Plan(base_url=URL, api_key="sesame4", headers=headers)
    written = json.dumps({**plan.to_dict(), "request_rate": None})
    assert "sesame" not in written + repr(plan)
    assert "X-Auth-Token" in written
    assert "blue" in written
    assert plan.to_dict()["authorized"] is True
    assert {"sesame1", "Bearer sesame1", "sesame2", "sesame3", "sesame4"} <= set(plan.secrets)


def test_lengths_in_the_run_file_are_those_that_are_used():
    assert Plan(base_url=URL).to_dict()["input_len"] == 1024
    poem = Plan(base_url=URL, dataset_name="sonnet", dataset_path="x", output_len=7).to_dict()
    assert (poem["input_len"], poem["output_len"], poem["prefix_len"]) == (550, 7, 200)
