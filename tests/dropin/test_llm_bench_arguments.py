"""llm_bench's command line: what it takes, what it refuses and how."""

import pytest

from vllmperf.dropin.llm_bench.arguments import parse
from vllmperf.dropin.llm_bench.duration import duration_s
from vllmperf.dropin.llm_bench.flags import FLAGS, REFUSED
from vllmperf.dropin.llm_bench.main import main
from vllmperf.errors import UsageError

GUIDE = (
    "--provider vllm -H http://localhost:8000 --headless --summary-file vllm_locust.csv --tokenizer M "
    "--qps 1.0 -u 100 -r 100 -p 1000 -o 100 -t 2m"
)


def options(words, profile="2024-10"):
    return parse(["--profile", profile, *words.split()])


def test_the_guides_command_is_taken_as_it_stands():
    read = parse(GUIDE.split())
    assert (read.profile, read.qps, read.users, read.spawn_rate) == ("2024-10", 1.0, 100, 100.0)
    assert (read.prompt_tokens, read.max_tokens, read.run_time, read.chat) == (1000, 100, 120.0, False)


def test_chat_is_the_default_of_the_newer_version_alone():
    assert not options("").chat
    assert options("--chat").chat
    assert options("", "2026-06").chat
    assert not options("--no-chat", "2026-06").chat


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20", 20), ("20s", 20), ("2m", 120), ("3min", 180), ("2h", 7200), ("1h30m", 5400), ("1h2m3s", 3723)],
)
def test_durations_are_those_of_locust(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "2x", "30m1h", "2mx", "-3"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="no duration"):
        duration_s(text)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--bogus 3", "--bogus"),
        ("--csv results", "--csv"),
        ("--html=x.html", "--html"),
        ("--dataset limericks", "--dataset"),
        ("--users many", "-u/--users"),
        ("--users 0", "--users"),
        ("--spawn-rate 0", "--spawn-rate"),
        ("--qps 1 --burst 2", "--burst"),
        ("--provider nobody", "--provider"),
        ("--header novalue", "--header"),
        ("--prompt-text a --prompt-file b", "--prompt-file"),
    ],
)
def test_what_cannot_be_is_refused_by_name_with_exit_code_2(words, named, capsys):
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert named in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_flags_of_the_other_version_are_told_apart():
    with pytest.raises(UsageError, match="2024-10"):
        options("--prompt-chars 10", "2026-06")
    with pytest.raises(UsageError, match="2026-06"):
        options("--max-requests 10")


def test_no_flag_is_both_taken_and_refused():
    taken = {name for flag in FLAGS for name in flag.names}
    assert not taken & set(REFUSED)


def test_environment_variables_of_the_original_are_defaults(monkeypatch):
    monkeypatch.setenv("MODEL", "from-environment")
    monkeypatch.setenv("LOCUST_USERS", "7")
    assert options("").model == "from-environment"
    assert options("").users == 7
    monkeypatch.setenv("TOKENIZER", "folder")
    assert options("").tokenizer is None
    assert options("", "2026-06").tokenizer == "folder"
    assert options("-m given -u 2").model == "given"
    assert options("-m given -u 2").users == 2


def test_headers_are_split_at_the_first_colon():
    assert options("--header X-Team:core --header X-Url:http://a").headers == {
        "X-Team": "core",
        "X-Url": "http://a",
    }


@pytest.mark.parametrize("name", ["triton-infer", "triton-generate"])
def test_providers_that_are_not_here_are_refused_before_anything_is_sent(name, capsys):
    assert main(["--provider", name, "-H", "http://127.0.0.1:1"]) == 2
    assert name in capsys.readouterr().err
