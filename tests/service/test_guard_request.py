"""What a run that is asked for may reach, read, write down and use up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra service is not installed")

from vllmperf.reach import Reach
from vllmperf.service.errors import RefusedError
from vllmperf.service.guard.request import asked_for, check_request, is_inside
from vllmperf.service.guard.settings import Guard
from vllmperf.service.request import request_of, start_load

URL = "http://127.0.0.1:8000"


@pytest.fixture
def guard(tmp_path):
    data = tmp_path / "data"
    (data / "in").mkdir(parents=True)
    (data / "rows.jsonl").write_text("{}\n")
    (tmp_path / "outside.jsonl").write_text("{}\n")
    (data / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    (data / "in" / "up").symlink_to(tmp_path)
    (data / "fine.jsonl").symlink_to("rows.jsonl")
    return Guard(data, reach=Reach.of(["127.0.0.0/8"]))


def bench(guard: Guard, **plan: Any) -> None:
    check_request(request_of({"kind": "bench", "plan": {"base_url": URL, "model": "m", **plan}}), guard)


def load(guard: Guard, **payload: Any) -> None:
    given = {"host": "127.0.0.1", "port": 8000, "model": "m", "dataset_name": "random", **payload}
    check_request(start_load({name: value for name, value in given.items() if value is not None}), guard)


@contextlib.contextmanager
def refused(status: int, field: str | None, match: str = ".") -> Iterator[None]:
    with pytest.raises(RefusedError, match=match) as caught:
        yield
    assert (caught.value.status, caught.value.field) == (status, field)
    assert "\n" not in str(caught.value)


# ---- files ----

OUTSIDE = (
    "/etc/passwd",
    "../outside.jsonl",
    "link.jsonl",
    "in/up/outside.jsonl",
    "in/../../outside.jsonl",
    "a\0b",
)


@pytest.mark.parametrize(
    "path", ["rows.jsonl", "./rows.jsonl", "in/../rows.jsonl", "fine.jsonl", "none-yet.jsonl"]
)
def test_a_file_in_the_data_folder_may_be_read(path, guard):
    bench(guard, dataset_name="custom", dataset_path=path)
    load(guard, dataset_name="sharegpt", dataset_path=path)
    bench(guard, dataset_name="custom", dataset_path=str(guard.data / "rows.jsonl"))


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_it_neither_by_dots_nor_by_symlinks(path, guard):
    with refused(403, "dataset_path", "outside of the service's data folder"):
        bench(guard, dataset_name="custom", dataset_path=path)
    with refused(403, "dataset_path"):
        load(guard, dataset_name="sharegpt", dataset_path=path)
    with refused(403, "tokenizer"):
        bench(guard, tokenizer=path)
    with refused(403, "cacert"):
        bench(guard, cacert=path)


def test_the_same_holds_for_arrivals_and_within_sweeps(guard):
    with refused(403, "arrival_file"):
        bench(guard, arrival="trace", arrival_file="/etc/hosts")
    with refused(403, "dataset_path"):
        sweep = {
            "setups": [{"name": "a", "url": URL}],
            "plan": {"model": "m", "dataset_name": "custom"},
            "points": [{"dataset_path": "rows.jsonl"}, {"dataset_path": "/etc/passwd"}],
        }
        check_request(request_of({"kind": "sweep", "sweep": sweep}), guard)


def powered(guard: Guard, kind: str, power: str) -> None:
    """A run of this kind that reads power from there."""
    settings = {"base_url": URL, "model": "m", "power": power}
    place = {"setups": [{"url": URL}], "plan": settings, "points": [{"request_rate": 1, "duration": 1}]}
    if kind == "sweep":
        del settings["base_url"]
    check_request(request_of({"kind": kind, KINDS[kind]: place if kind == "sweep" else settings}), guard)


KINDS = {"bench": "plan", "stress": "stress", "sweep": "sweep", "fit": "fit"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_power_of_a_run_is_read_within_the_data_folder_alone(guard, kind):
    powered(guard, kind, "file=rows.jsonl")
    for path in OUTSIDE:
        with refused(403, "power", "outside of the service's data folder"):
            powered(guard, kind, f"file={path}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["dcgm", "prometheus"])
def test_the_power_of_a_run_is_asked_of_allowed_servers_alone(guard, kind, source):
    powered(guard, kind, f"{source}=http://127.0.0.1:9400/metrics")
    for url in (
        "http://169.254.169.254/latest",
        "http://10.0.0.1:9400/metrics,query=up",
        "http://[::ffff:a00:1]:9400/",
    ):
        with refused(403, "power"):
            powered(guard, kind, f"{source}={url}")


def test_a_model_whose_name_is_a_path_is_no_tokenizer_outside(guard):
    with refused(403, "tokenizer"):
        load(guard, model="/models/llama")
    load(guard, model="/models/llama", tokenizer="meta-llama/Llama-3.1-8B")
    bench(guard, model="/models/llama")


@pytest.mark.parametrize(
    "path",
    [
        "hf://datasets/a/b/../../../../etc/passwd",
        "s3://bucket/x",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
    ],
)
def test_a_url_is_no_path(path, guard):
    with refused(400, "dataset_path"):
        bench(guard, dataset_name="custom", dataset_path=path)


def test_a_link_of_the_hub_is_none_of_the_machines_paths(guard):
    bench(guard, dataset_name="custom", dataset_path="hf://datasets/a/b/c.jsonl")


@pytest.mark.parametrize(
    "name",
    [
        "job.json",
        "state.json",
        "result.json",
        "run.vllmperf",
        "report.html",
        "log.txt",
        ".hidden.json",
        "x.html",
        "a\nb.json",
        "~.json",
        "x" * 300 + ".json",
    ],
)
def test_a_result_takes_the_place_of_no_file_of_the_service(name, guard):
    with refused(400, "result_filename"):
        load(guard, result_filename=name)


def test_the_data_folder_itself_may_be_a_symlink(tmp_path, guard):
    link = tmp_path / "data-link"
    link.symlink_to(guard.data)
    assert is_inside("rows.jsonl", link)
    assert is_inside(str(guard.data / "rows.jsonl"), link)
    assert not is_inside("../outside.jsonl", link)
    assert not is_inside(str(guard.data) + "-other", link)
    (guard.data / "loop").symlink_to("loop")
    assert not is_inside("loop/../../outside.jsonl", link)


# ---- servers ----


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "http://10.0.0.1:8000",
        "http://[::ffff:169.254.169.254]",
        "http://2852039166",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376",
        "http://169.254.169.254.",
        "http://0.0.0.0:8000",
        "https://[::]",
    ],
)
def test_a_server_that_is_not_allowed_is_refused_under_whatever_name(url, guard):
    with refused(403, "base_url", "not among the targets"):
        bench(guard, base_url=url)
    with refused(403, "base_url"):
        load(guard, base_url=url, host=None, port=None)
    with refused(403, "base_url"):
        check_request(
            request_of(
                {"kind": "sweep", "sweep": {"setups": [{"name": "a", "url": url}], "plan": {"model": "m"}}}
            ),
            guard,
        )


def test_one_of_several_servers_is_enough_to_be_refused(guard):
    with refused(403, "base_url"):
        bench(guard, base_url=[URL, "http://10.0.0.1"])


def test_metrics_of_a_sweep_are_asked_of_allowed_servers_only(guard):
    setup = {"name": "a", "url": URL, "metrics": ["http://169.254.169.254/latest/meta-data"]}
    with refused(403, "base_url"):
        check_request(
            request_of({"kind": "sweep", "sweep": {"setups": [setup], "plan": {"model": "m"}}}), guard
        )


def test_without_a_reach_any_server_goes(guard):
    bench(Guard(guard.data), base_url="http://10.0.0.1")


@pytest.mark.parametrize(
    "url", ["http://u:p@127.0.0.1:8000", "http://127.0.0.1:8000@10.0.0.1", "http://a@b@c"]
)
def test_no_url_holds_a_user_or_a_password(url, guard):
    with refused(400, "base_url", "must not hold a user name or password"):
        load(guard, base_url=url, host=None, port=None)


def test_an_endpoint_is_a_path(guard):
    with refused(400, "endpoint"):
        load(guard, endpoint="@10.0.0.1/v1/completions")


# ---- secrets, amounts, programs ----


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"extra_body": {"api_key": "sk-1"}}, "extra_body"),
        ({"extra_body": {"a": [{"access-token": "x"}]}}, "extra_body"),
        ({"metadata": {"hf_token": "x"}}, "metadata"),
    ],
)
def test_a_secret_where_it_would_be_written_down_is_refused(settings, field, guard):
    with refused(400, field, "looks like a secret"):
        bench(guard, **settings)


def test_what_only_sounds_like_a_secret_is_none(guard):
    bench(guard, extra_body={"max_tokens": 5, "min_tokens": 2, "return_token_ids": True})
    load(guard, metadata=["gpu=H100"], profile="vllm-2026")


def test_metadata_of_a_payload_holds_no_secret_either(guard):
    with refused(400, "metadata"):
        load(guard, metadata=["token=abc"], profile="vllm-2026")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"num_prompts": 10**8}, "num_prompts"),
        ({"max_concurrency": 10**6}, "max_concurrency"),
        ({"warm_connections": 10**6}, "warm_connections"),
        ({"duration": "1000h", "request_rate": 1}, "duration"),
        ({"input_len": 10**8}, "input_len"),
        ({"n": 1000}, "n"),
        ({"threads": 1000}, "threads"),
        ({"request_rate": 10**8}, "request_rate"),
    ],
)
def test_more_than_the_service_takes_is_refused_by_name(settings, field, guard):
    with refused(400, field, f"^{field} must be at most"):
        bench(guard, **settings)


def test_payloads_have_the_same_limits(guard):
    with refused(400, "num_prompts"):
        load(guard, num_prompts=10**8)
    with refused(400, "random_input_len"):
        load(guard, random_input_len=10**9)


def test_the_documents_stress_run_is_not_too_much(guard):
    load(guard, num_prompts=500_000, request_rate=12, dataset_name="sonnet", dataset_path="rows.jsonl")


def test_a_stress_run_is_checked_as_any_other(guard):
    with refused(403, "dataset_path"):
        load(guard, stress=True, dataset_name="sonnet", dataset_path="/etc/passwd")
    with refused(400, "num_prompts"):
        load(guard, stress=True, num_prompts=10**8)
    with refused(403, "base_url"):
        load(guard, stress=True, host="169.254.169.254")
    load(guard, stress=True)


@pytest.mark.parametrize("name", ["api_key_file", "api-key-file"])
def test_no_key_file_is_read_not_even_to_see_whether_it_is_there(name, guard):
    for setup, shared in (({}, {name: "/nonexistent"}), ({"plan": {name: "/nonexistent"}}, {})):
        sweep = {"setups": [{"name": "a", "url": URL, **setup}], "plan": {"model": "m", **shared}}
        with refused(400, "api_key_file", "is a file of the service's machine"):
            asked_for({"kind": "sweep", "sweep": sweep}, request_of, guard)


@pytest.mark.parametrize("kind", ["command", "ray_serve", "kubernetes", "helm"])
def test_a_set_up_that_starts_something_is_refused_before_its_files_are_read(kind, guard):
    sweep = {
        "setups": [{"name": "a", "url": URL}, {"name": "b", kind: "/etc/passwd"}],
        "plan": {"model": "m"},
    }
    with refused(400, "setups", rf"^setups\[1\] starts a program \({kind}\)"):
        asked_for({"kind": "sweep", "sweep": sweep}, request_of, guard)


@pytest.mark.parametrize("settings", [{"truth": "x.jsonl"}, {"host": "0.0.0.0"}])
def test_a_simulator_writes_no_file_and_opens_no_port_to_others(settings, guard):
    with refused(400, "simulator"):
        check_request(request_of({"kind": "bench", "plan": {"simulator": settings}}), guard)
    with refused(400, "simulator"):
        check_request(
            request_of({"kind": "sweep", "sweep": {"setups": [{"name": "a", "simulator": settings}]}}), guard
        )


@pytest.mark.parametrize("name", ["startup", "startup_log"])
def test_a_simulator_goes_through_no_start_that_writes_a_log(name, guard):
    with refused(400, "simulator"):
        check_request(request_of({"kind": "bench", "plan": {"simulator": {name: "x"}}}), guard)


@pytest.mark.parametrize("label", ["a\nb", "\x1b[31m", "x" * 201])
def test_a_label_is_a_line_of_text(label, guard):
    with refused(400, "label"):
        check_request(
            request_of({"kind": "bench", "label": label, "plan": {"base_url": URL, "model": "m"}}), guard
        )
