"""The payload of /start-load: every key of benchmark_serving.py, checked by its own parser, errors by field."""

from __future__ import annotations

from typing import Any

import pytest

from vllmperf.dropin.benchmark_serving import flags
from vllmperf.dropin.benchmark_serving.flags import FLAGS, SWITCH
from vllmperf.service.errors import FieldError
from vllmperf.service.examples import PAYLOAD
from vllmperf.service.payload import OF_THE_RUN, checked, redacted
from vllmperf.service.request import start_load

LEAST = {"model": "org/model"}


def test_the_payload_of_the_document_is_the_command_line_that_it_stands_for() -> None:
    words = (
        "--host localhost --port 8000 --num-prompts 1000 --request-rate 12 --model meta-llama/Llama-3.1-405B-Instruct-FP8 "
        "--backend openai-chat --endpoint /v1/chat/completions --dataset-path app/sonnet.txt --dataset-name sonnet "
        "--sonnet-input-len 512 --sonnet-prefix-len 128 --sonnet-output-len 2"
    )
    load = checked(PAYLOAD)
    profile, rest = flags.choose(words.split())
    assert (load.profile, load.args) == (profile, flags.parse(profile, rest))
    assert load.base_url == "http://localhost:8000"


@pytest.mark.parametrize("profile", FLAGS)
def test_every_flag_of_a_profile_is_a_key(profile: str) -> None:
    values: dict[str, Any] = {"profile": profile, **LEAST}
    for flag in FLAGS[profile]:
        if flag.kind == SWITCH and flag.key not in (*OF_THE_RUN, "profile"):
            values[flag.key] = True
        elif (
            isinstance(flag.default, int | float | str) and flag.kind != SWITCH and flag.key not in OF_THE_RUN
        ):
            values[flag.key] = "inf" if flag.default == float("inf") else flag.default
    found = checked(values).args
    for name, value in values.items():
        if name != "profile":
            assert getattr(found, name) == (float("inf") if value == "inf" else value), name


def test_keys_may_have_the_dashes_of_the_flags() -> None:
    assert checked({**LEAST, "num-prompts": 7}).args.num_prompts == 7


def test_a_key_that_is_null_is_not_given() -> None:
    assert checked({**LEAST, "max_concurrency": None, "request_rate": None}).args.max_concurrency is None


def test_lists_and_objects_are_several_words() -> None:
    found = checked({**LEAST, "goodput": {"ttft": 200, "tpot": 50}, "metadata": ["a=1", "b=2"]}).args
    assert (found.goodput, found.metadata) == (["ttft:200", "tpot:50"], ["a=1", "b=2"])


def test_a_profile_may_be_named_and_the_clients_own_switch_stays() -> None:
    assert checked({**LEAST, "profile": "vllm-2026"}).profile.name == "vllm-2026"
    assert checked({**LEAST, "profile": True}).args.profile is True
    assert checked({**LEAST, "profile": "vllm-2026", "extra_body": {"a": [1]}}).args.extra_body == {"a": [1]}


@pytest.mark.parametrize(
    ("wrong", "field", "message"),
    [
        ({"num_prompts": "many"}, "num_prompts", "num_prompts: invalid int value: 'many'"),
        ({"num_prompts": 0}, "num_prompts", "num_prompts must be greater than 0"),
        ({"num_prompts": 1.5}, "num_prompts", "num_prompts: invalid int value: '1.5'"),
        ({"num_prompts": True}, "num_prompts", "num_prompts must not be true: give its value"),
        ({"num_prompts": [1]}, "num_prompts", "num_prompts must be a single value (got [1])"),
        ({"num_promts": 5}, "num_promts", "no such key num_promts: did you mean num_prompts?"),
        ({"ramp_up": 5}, "ramp_up", "no such key ramp_up"),
        ({"request_rate": -1}, "request_rate", "request_rate is -1: give a number above 0, or inf"),
        ({"request_rate": "nan"}, "request_rate", "request_rate is nan: give a number above 0, or inf"),
        ({"backend": "openai-audio"}, "backend", "backend openai-audio is not supported yet"),
        ({"backend": "none"}, "backend", "backend none: choose one of tgi, vllm"),
        ({"port": "http"}, "port", "port: invalid int value: 'http'"),
        ({"ignore_eos": "yes"}, "ignore_eos", 'ignore_eos must be true or false (got "yes")'),
        ({"goodput": ["ttft"]}, "goodput", "goodput 'ttft': give METRIC:MILLISECONDS"),
        ({"goodput": ["--record", "x"]}, "goodput", "goodput: a value must not begin with -"),
        (
            {"metric_percentiles": "101"},
            "metric_percentiles",
            "metric_percentiles 101: give numbers from 0 to 100",
        ),
        ({"profile": "vllm-1"}, "profile", 'profile "vllm-1": choose one of vllm-0.6, vllm-0.8, vllm-2026'),
        ({"result_filename": "../x.json"}, "result_filename", "result_filename must be a plain name"),
        ({"model": None}, "model", "model is missing"),
    ],
)
def test_what_is_wrong_names_its_field(wrong: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(FieldError) as error:
        checked({**LEAST, **wrong})
    assert error.value.field == field
    assert message in str(error.value)


def test_no_value_becomes_a_flag() -> None:
    """Values of single flags stand behind their =."""
    found = checked({**LEAST, "dataset_path": "--record=/tmp/x", "tokenizer": "--both"}).args
    assert (found.dataset_path, found.tokenizer, found.record, found.both) == (
        "--record=/tmp/x",
        "--both",
        None,
        False,
    )


def test_where_results_go_is_not_the_clients_business() -> None:
    found = checked(
        {**LEAST, "save_result": True, "result_dir": "/etc", "record": "/etc/x", "both": True}
    ).args
    assert (found.save_result, found.result_dir, found.record, found.both) == (False, None, None, False)


def test_headers_that_are_secret_are_apart() -> None:
    given = {**LEAST, "profile": "vllm-2026", "header": ["Authorization=Bearer abc", "x-team=a"]}
    shown, secrets = redacted(given)
    assert shown["header"] == ["Authorization=***", "x-team=a"]
    assert secrets == {"header": ["Authorization=Bearer abc", "x-team=a"]}
    assert redacted(LEAST) == (LEAST, {})


@pytest.mark.parametrize(("given", "is_on"), [(True, True), ("true", True), ("True", True), ("false", False)])
def test_a_switch_may_be_a_text_as_helm_and_python_write_it(given: object, is_on: bool) -> None:
    assert checked({**LEAST, "ignore_eos": given}).args.ignore_eos is is_on
    assert checked({**LEAST, "profile": given}).args.profile is is_on
    request = start_load({"host": "127.0.0.1", **LEAST, "stress": given})
    assert request.kind == ("stress" if is_on else "start-load")


@pytest.mark.parametrize("given", ["yes", 1, "", [], {}])
@pytest.mark.parametrize("key", ["ignore_eos", "stress"])
def test_a_switch_that_is_neither_on_nor_off_is_refused(key: str, given: object) -> None:
    with pytest.raises(FieldError, match=f"{key} must be true or false") as caught:
        start_load({**LEAST, key: given})
    assert caught.value.field == key


@pytest.mark.parametrize("profile", FLAGS)
def test_burstiness_needs_no_rate_as_with_the_original(profile: str) -> None:
    assert checked({**LEAST, "profile": profile, "burstiness": 1.5}).args.burstiness == 1.5
