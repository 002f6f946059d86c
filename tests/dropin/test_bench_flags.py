"""Flags of the three versions: defaults, names, what is refused, which version is meant."""

import json

import pytest

from vllmperf.dropin.benchmark_serving import command, flags, prepare, results
from vllmperf.errors import UsageError

P06, P08, P26 = (flags.PROFILES[name] for name in ("vllm-0.6", "vllm-0.8", "vllm-2026"))
NEEDED = ["--model", "m"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--profile", "vllm-0.8", "--seed", "1"], "vllm-0.8"),
        (["--profile=vllm-2026"], "vllm-2026"),
        (["--model", "m"], "vllm-0.6"),
        (["--temperature", "0"], "vllm-0.8"),
        (["--append_result"], "vllm-0.8"),
        (["--num-warmups", "3"], "vllm-2026"),
        (["--best-of", "2"], "vllm-0.6"),
        (["--nonsense"], "vllm-0.6"),
    ],
)
def test_the_profile_is_the_named_one_or_the_first_that_has_all_flags(words, name):
    assert flags.choose(words)[0].name == name


def test_a_bare_profile_flag_is_the_originals_own_switch():
    profile, rest = flags.choose(["--profile", "--model", "m"])
    assert flags.parse(profile, rest).profile is True
    profile, rest = flags.choose(["--profile", "vllm-0.6", *NEEDED, "--profile"])
    assert flags.parse(profile, rest).profile is True


def test_a_profile_that_is_none_names_those_that_there_are():
    with pytest.raises(UsageError, match=r"vllm-0\.6, vllm-0\.8, vllm-2026"):
        flags.choose(["--profile", "vllm-1"])


@pytest.mark.parametrize(
    ("profile", "words", "flag"),
    [
        (P06, [*NEEDED, "--append-result"], "--append-result"),
        (P08, [*NEEDED, "--best-of", "2"], "--best-of"),
        (P08, [*NEEDED, "--dataset", "f"], "--dataset"),
        (P26, ["--best-of", "2"], "--best-of"),
        (P26, ["--random-inputlen", "2"], "--random-inputlen"),
    ],
)
def test_a_flag_of_another_version_is_refused_by_name(profile, words, flag):
    with pytest.raises(UsageError) as found:
        flags.parse(profile, words)
    assert flag in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (P26, ["--dataset-name", "random-mm"]),
        (P26, ["--dataset-name", "custom_audio"]),
        (P26, ["--backend", "openai-audio"]),
        (P08, [*NEEDED, "--backend", "openai-audio"]),
    ],
)
def test_images_and_audio_are_refused_by_name_for_now(profile, words):
    with pytest.raises(UsageError, match=f"{words[-1]} is not supported yet"):
        flags.parse(profile, words)


@pytest.mark.parametrize("encoding", ["bytes", "bytes_only"])
def test_embeddings_as_bytes_are_refused_by_name(encoding):
    args = flags.parse(P26, ["--extra-body", json.dumps({"encoding_format": encoding})])
    with pytest.raises(UsageError, match=f"encoding_format {encoding} .* use float or base64"):
        prepare.check(P26, args)


def test_sonnet_is_none_of_2026s_data_sets():
    with pytest.raises(UsageError, match="dataset-name sonnet: choose one of"):
        flags.parse(P26, ["--dataset-name", "sonnet"])


def test_underscores_and_dashes_are_the_same_in_a_flags_name_but_not_in_its_value():
    args = flags.parse(P26, ["--num_prompts", "3", "--request_id_prefix=a_b-", "--no_self_timed"])
    assert (args.num_prompts, args.request_id_prefix, args.self_timed) == (3, "a_b-", False)


def test_defaults_differ_from_version_to_version():
    old, mid, new = flags.parse(P06, NEEDED), flags.parse(P08, NEEDED), flags.parse(P26, [])
    assert (old.host, mid.host) == ("localhost", "127.0.0.1")
    assert (old.random_range_ratio, mid.random_range_ratio, new.random_range_ratio) == (1.0, 0.0, "0.0")
    assert (old.backend, new.backend) == ("vllm", "openai")
    assert (old.dataset_name, new.dataset_name) == ("sharegpt", "random")
    assert new.request_id_prefix.startswith("bench-")
    assert len(new.request_id_prefix) == len("bench-01234567-")


def test_the_first_line_says_all_values_back_in_the_originals_order_and_hides_headers():
    line = flags.said_back(P06, flags.parse(P06, NEEDED))
    assert line.startswith("Namespace(backend='vllm', base_url=None, host='localhost', port=8000, ")
    assert line.endswith("hf_subset=None, hf_split=None, hf_output_len=None)")
    assert "burstiness=1.0, seed=0" in line
    new = flags.said_back(P26, flags.parse(P26, ["--header", "X=secret", "--both"]))
    assert "secret" not in new
    assert "header='***'" in new
    assert "both" not in new


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--max-concurrency", "0"], "max-concurrency"),
        (["--ramp-up-strategy", "linear", "--request-rate", "5"], "request-rate"),
        (["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "5"], "ramp-up-end-rps"),
        (
            ["--ramp-up-strategy", "exponential", "--ramp-up-start-rps", "0", "--ramp-up-end-rps", "5"],
            "start at 0",
        ),
        (["--metadata", "x"], "KEY=VALUE"),
        (["--metric-percentiles", "50,a"], "metric-percentiles"),
        (["--metric-percentiles", "101"], "0 to 100"),
        (["--request-rate", "0"], "request-rate"),
        (["--num-prompts", "0"], "num-prompts"),
        (["--dataset-path", "f"], "dataset-path"),
        (["--self-timed"], "timed_trace"),
        (["--endpoint", "/v1/chat/completions", "--backend", "openai-chat", "--goodput", "itl:5"], "goodput"),
        (["--backend", "openai-chat"], "must end in chat/completions"),
        (["--dataset-name", "random-rerank", "--random-range-ratio", "1.0"], "random-range-ratio"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(words, what, model, capsys):
    with pytest.raises(UsageError) as found:
        command.main(
            [
                "--profile",
                "vllm-2026",
                "--model",
                "m",
                "--tokenizer",
                str(model),
                "--base-url",
                "http://127.0.0.1:9",
                *words,
            ]
        )
    assert what in str(found.value)
    assert capsys.readouterr().out.startswith("Namespace(")


@pytest.mark.parametrize(("profile", "value"), [(P06, "a"), (P08, "a"), (P26, "a=b")])
def test_old_versions_drop_what_follows_a_second_equals_sign_in_metadata(profile, value):
    words = ["--metadata", "note=a=b", " tp = 1", *([] if profile is P26 else NEEDED)]
    assert results.metadata(profile, flags.parse(profile, words)) == {"note": value, "tp": "1"}


@pytest.mark.parametrize("profile", [P06, P08, P26])
def test_help_names_every_flag_with_its_default(profile, capsys):
    with pytest.raises(SystemExit) as ended:
        flags.parse(profile, ["--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"--{flag.name}" in text for flag in flags.FLAGS[profile.name])
    assert "(1000)" in text
