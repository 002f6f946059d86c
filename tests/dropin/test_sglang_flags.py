"""The flags of SGLang's client and of the guide's copy of it."""

import json

import pytest

from vllmperf.cli import main as vllmperf
from vllmperf.dropin.sglang import command, flags
from vllmperf.errors import UsageError

BASE = ("--backend", "vllm", "--model", "m")


@pytest.mark.parametrize("name", ["disable-stream", "disable-ignore-eos", "with-warmup"])
@pytest.mark.parametrize(
    ("words", "value"),
    [((), True), (("false",), False), (("False",), False), (("TRUE",), True), (("0",), False)],
)
def test_switches_take_true_and_false_as_the_guide_writes_them(name, words, value):
    args = flags.parse([*BASE, f"--{name}", *words])
    assert getattr(args, name.replace("-", "_")) is value


def test_a_boolean_that_is_none_is_refused():
    with pytest.raises(UsageError, match="'maybe' is neither true nor false"):
        flags.parse([*BASE, "--with-warmup", "maybe"])


def test_flags_may_be_cut_short_as_sglangs_own_documentation_does():
    args = flags.parse([*BASE, "--num-prompt", "10", "--random-input=7", "--max", "3", "--request", "5"])
    assert (args.num_prompts, args.random_input_len, args.max_concurrency, args.request_rate) == (
        10,
        7,
        3,
        5.0,
    )


def test_a_bare_profile_is_the_servers_profiler_and_a_named_one_this_client():
    args = flags.parse([*BASE, "--profile", "sglang", "--profile"])
    assert args.profile is True
    assert flags.parse([*BASE, "--profile=sglang"]).profile is False
    with pytest.raises(UsageError, match="vLLM's are in benchmark_serving"):
        flags.parse([*BASE, "--profile", "vllm-0.8"])


def test_only_flags_of_the_client_are_said_back_unless_the_guides_are_given():
    assert flags.said_back(flags.parse([*BASE])).endswith("gsp_output_len=256)")
    told = flags.said_back(flags.parse([*BASE, "--max-conversations", "9", "--with-warmup", "false"]))
    assert told.endswith("gsp_output_len=256, max_conversations=9)")


def test_a_rate_of_minus_one_is_no_limit_and_a_range_gives_several():
    assert command._rates(flags.parse([*BASE, "--request-rate", "-1"])) == [float("inf")]
    assert command._rates(flags.parse([*BASE, "--request-rate", "inf"])) == [float("inf")]
    several = [*BASE, "--multi", "--request-rate-range"]
    assert command._rates(flags.parse([*several, "2,9,3"])) == [2.0, 5.0, 8.0]
    assert command._rates(flags.parse([*several, "4,1"])) == [4.0, 1.0]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--backend", "gserver"), "no client for it"),
        (("--backend", "truss"), "truss needs --model"),
        (("--request-rate", "0"), "--request-rate is 0"),
        (("--extra-request-body", "[1]"), "give a JSON object"),
        (("--num-prompts", "0"), "--num-prompts must be at least 1"),
        (("--multi", "--request-rate-range", "a"), "give START,STOP,STEP or rates"),
        (("--no-such-flag",), "--no-such-flag is no flag of bench_serving.py"),
    ],
)
def test_what_cannot_be_run_is_one_line(words, what, capsys):
    assert vllmperf(["bench", "--profile", "sglang", *words]) == 2
    error = capsys.readouterr().err
    assert what in error
    assert error.count("\n") == 1


def test_a_server_that_is_not_there_is_one_line(model, tmp_path, port, capsys):
    file = tmp_path / "a.json"
    file.write_text(json.dumps([{"conversations": [{"value": "a b c d"}, {"value": "e f g h"}]}]))
    words = ("--model", str(model), "--port", str(port), "--dataset-path", str(file))
    assert vllmperf(["bench", "--profile", "sglang", "--backend", "vllm", *words]) == 3
    assert "Initial test run failed" in capsys.readouterr().err
