"""Flags, variables, scenarios, and what is refused by name."""

import json
from pathlib import Path

import pytest

from vllmperf.dropin.guidellm.arguments import parse
from vllmperf.dropin.guidellm.settings import settings
from vllmperf.errors import UsageError

NEEDED = "--target http://h:1 --rate-type synchronous --data prompt_tokens=1,output_tokens=1"


def options(more="", **environment):
    return parse(f"{NEEDED} {more}".split(), environment)


def test_the_documents_flags_are_taken():
    command = (
        "--target http://vllm:8000 --rate-type throughput --max-seconds 360 --model unsloth/Meta-Llama-3.1-8B "
        "--data prompt_tokens=128,output_tokens=128 --output-path /tmp/benchmarks.json"
    )
    found = parse(command.split(), {"GUIDELLM__MAX_CONCURRENCY": "64", "HF_HOME": "/tmp"})
    assert (found.target, found.rate_type, found.max_seconds) == ("http://vllm:8000", "throughput", 360)
    assert found.settings.max_concurrency == 64
    assert found.output_paths == (Path("/tmp/benchmarks.json"),)


def test_every_flag_of_0_3_is_taken():
    found = options(
        '--backend-type openai_http --backend-args {"timeout":9} --processor p --processor-args {"a":1} --data-args {} '
        "--data-sampler random --rate 1,2.5 --max-requests 7 --warmup-percent 0.1 --cooldown-percent 0.2 "
        '--disable-progress --display-scheduler-stats --disable-console-outputs --output-extras {"k":"v"} '
        "--output-sampling 0 --random-seed 7"
    )
    assert found.rate == (1.0, 2.5)
    assert (found.warmup_percent, found.cooldown_percent, found.output_sampling) == (0.1, 0.2, 0)
    assert found.disable_progress
    assert found.display_scheduler_stats
    assert found.disable_console_outputs
    assert not found.guidellm_burst


def test_defaults_are_those_of_guidellm():
    found = options()
    assert (found.random_seed, found.output_paths, found.output_sampling) == (42, None, None)
    assert (found.settings.max_concurrency, found.settings.request_timeout) == (512, 300)
    assert (found.settings.openai__max_output_tokens, found.settings.default_sweep_number) == (16384, 10)
    assert found.settings.preferred_route == "text_completions"


def test_a_flag_may_stand_in_a_variable_and_the_command_line_wins():
    found = options(
        GUIDELLM_MAX_SECONDS="5", GUIDELLM_DISABLE_PROGRESS="true", GUIDELLM_TARGET="http://other"
    )
    assert (found.max_seconds, found.disable_progress, found.target) == (5, True, "http://h:1")


def test_flags_go_before_those_of_a_scenario(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(
        json.dumps(
            {"target": "http://s", "data": "x.txt", "max_requests": 3, "rate": [1, 2], "rate_type": "sweep"}
        )
    )
    found = parse(["--scenario", str(path), "--target", "http://flag"], {})
    assert (found.target, found.data, found.max_requests, found.rate) == (
        "http://flag",
        "x.txt",
        3,
        (1.0, 2.0),
    )


@pytest.mark.parametrize(
    ("more", "rate_type", "rate"),
    [
        ("--profile kind=concurrent,streams=1,4", "concurrent", (1.0, 4.0)),
        ("--profile kind=poisson,rate=2.5", "poisson", (2.5,)),
        ("--profile kind=sweep,sweep_size=5", "sweep", (5.0,)),
        ('--profile {"kind":"constant","rate":[1,2]}', "constant", (1.0, 2.0)),
        ("--profile throughput", "throughput", None),
    ],
)
def test_the_spelling_of_0_7_is_taken(more, rate_type, rate):
    found = parse(f"--target http://h --data prompt_tokens=1,output_tokens=1 {more}".split(), {})
    assert (found.rate_type, found.rate) == (rate_type, rate)


def test_profile_and_constraints_of_0_7_set_the_flags_of_0_3():
    found = options(
        "--profile kind=throughput,max_concurrency=9 --constraint kind=max_duration,seconds=60 "
        "--constraint kind=max_requests,count=16"
    )
    assert (found.max_concurrency, found.max_seconds, found.max_requests) == (9, 60, 16)


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("--rate x", "--rate"),
        ("--rate 0", "--rate"),
        ("--max-seconds 0", "--max-seconds"),
        ("--max-requests 1.5", "--max-requests"),
        ("--warmup-percent 2", "--warmup-percent"),
        ("--backend-type vllm", "--backend-type"),
        ("--backend-args [1]", "--backend-args"),
        ("--data-sampler none", "--data-sampler"),
        ("--rate-type bursty", "--rate-type"),
        ("--output-sampling -1", "--output-sampling"),
        ("--request-formatter x", "--request-formatter"),
        ("--profile kind=replay", "replay"),
        ("--profile kind=constant,rampup_duration=3", "rampup_duration"),
        ("--constraint kind=over_saturation", "over_saturation"),
        ("--constraint kind=max_duration", "seconds"),
        ("--scenario /nowhere.json", "--scenario"),
    ],
)
def test_what_is_wrong_is_refused_by_name(more, word):
    with pytest.raises(UsageError, match=word) as refusal:
        options(more)
    assert refusal.value.exit_code == 2
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("left_out", ["--rate-type", "--data"])
def test_what_is_missing_is_named(left_out):
    words = NEEDED.split()
    at = words.index(left_out)
    with pytest.raises(UsageError, match=left_out):
        parse(words[:at] + words[at + 2 :], {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GUIDELLM__MAX_CONCURRENCY", "many"),
        ("GUIDELLM__REQUEST_TIMEOUT", "-1"),
        ("GUIDELLM__PREFERRED_ROUTE", "audio"),
        ("GUIDELLM__OPENAI__VERIFY", "perhaps"),
        ("GUIDELLM__OPENAI__HEADERS", "a: b"),
    ],
)
def test_a_bad_variable_is_refused_by_its_name(name, value):
    with pytest.raises(UsageError, match=name):
        settings({name: value})


def test_the_key_is_not_shown_among_the_settings():
    found = settings({"GUIDELLM__OPENAI__API_KEY": "sk-1", "guidellm__openai__max_output_tokens": "5"})
    assert found.openai__api_key == "sk-1"
    assert "sk-1" not in repr(found) + str(found.variables)
    assert found.variables["GUIDELLM__OPENAI__MAX_OUTPUT_TOKENS"] == 5
