"""The command line: what it imports, prints, refuses and returns."""

import json
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vllmperf.cli import COMMANDS, main, parser
from vllmperf.cli.bench import task_of
from vllmperf.errors import UsageError

SIM = ["bench", "--sim", "ttft_ms=2,itl_ms=0.5", "--no-progress"]
RAN = (
    0,
    1,
)  # 1: it ran, but the machine was too busy for numbers to be trusted, which these tests do not ask
FEW = ["--num-prompts", "6", "--max-concurrency", "3", "--output-len", "4"]


def command(*words, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "vllmperf", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def done(*words, **more):
    """(exit code, stdout, stderr)"""
    process = command(*words, **more)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def task(*words):
    return task_of(parser("bench").parse_args(["bench", *words]))


def plan(*words):
    return task(*words).plan


# ---- start ----


@pytest.mark.parametrize(
    "code", ["import vllmperf", "import vllmperf.cli as c; c.parser('bench').format_help()"]
)
def test_nothing_heavy_is_imported_before_it_is_used(code):
    code += "; import sys; print([m for m in ('numpy', 'rich', 'sqlite3', 'ssl', 'vllmperf._engine') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_run_imports_no_client_no_display_and_no_cluster():
    """Each of them would cost every run 10 to 100 ms of CPU."""
    unwanted = (
        "ssl",
        "urllib.request",
        "http.client",
        "rich.console",
        "kubernetes",
        "pandas",
        "numpy.ma",
        "html.entities",
        "difflib",
        "hashlib",
        "vllmperf.report.html",
        "vllmperf.loadgen.salt",
    )
    code = "import sys; from vllmperf.cli import main; main(sys.argv[1:]); "
    code += f"print([name for name in {unwanted} if name in sys.modules])"
    words = [*SIM, *FEW, "--model", "sim", "--no-server-metrics"]
    out = subprocess.check_output([sys.executable, "-c", code, *words], text=True, stderr=subprocess.DEVNULL)
    assert out.splitlines()[-1] == "[]"


def test_the_public_names_are_those_of_the_documentation():
    code = "import vllmperf; print([n for n in vllmperf.__all__ if getattr(vllmperf, n) is None], vllmperf.nothing)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "has no attribute 'nothing'" in result.stderr
    assert "has no attribute" not in result.stdout


def test_help_names_the_commands_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert all(word in text for word in ("bench", "report", "sim", "130"))


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "guidellm"])
def test_the_help_of_a_command_begins_with_two_examples_that_it_takes(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    title, *examples, blank = capsys.readouterr().out.splitlines()[:4]
    assert (title, blank) == ("examples:", "")
    for example in examples:
        for words in commands_of(example):
            assert parser(name).parse_args(words).command == name


def test_the_commands_of_the_readme_are_taken():
    page = (Path(__file__).parents[2] / "README.md").read_text()
    lines = [re.split(r"\s#", line)[0] for line in re.findall(r"^    (vllmperf .*)$", page, re.M)]
    lines += [line.replace("\\|", "|") for line in re.findall(r"`((?:vllmperf|kubectl) [^`]*)`", page)]
    own = [
        words
        for line in lines
        for words in commands_of(line)
        if not {"…", "guidellm", "--profile", "--help"} & {*words}
    ]
    for words in own:
        assert parser(words[0]).parse_args(words).command == words[0]
    assert len(own) > 15


def commands_of(line):
    """The arguments of each vllmperf in a line of shell."""
    for words in re.split(r" \| | && ", line.strip()):
        head, *rest = shlex.split(words)
        if head == "vllmperf":
            yield rest


def test_the_help_of_bench_shows_groups_and_the_defaults_that_say_something(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    text = capsys.readouterr().out
    groups = (
        "target:",
        "simulator:",
        "load:",
        "data:",
        "lengths",
        "request:",
        "limits",
        "output:",
        "engine:",
    )
    assert [group for group in groups if f"\n{group}" not in text] == []
    assert "default: 1024" in text
    assert "default: None" not in text
    assert "default: False" not in text


def test_without_a_command_the_help_goes_to_stderr(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bench", "--nope"], "--nope"),
        (["bench", "--num-prompt", "3"], "--num-prompt"),
        (["bench", "--request-rate", "x"], "--request-rate"),
        (["bench", "--request-rate", "-1"], "--request-rate"),
        (["bench", "--duration", "soon"], "30s"),
        (["bench", "--header", "x"], "NAME=VALUE"),
        (["bench", "--goodput", "ttft"], "METRIC:MS"),
        (["bench", "--goodput", "ttft:x"], "METRIC:MS"),
        (["bench", "--goodput", "itl:5"], "--goodput"),
        (["bench", "--extra-body", "{"], "JSON"),
        (["bench", "--extra-body", "[]"], "JSON object"),
        (["bench", "--metric-percentiles", "a"], "--metric-percentiles"),
        (["bench", "--percentile-metrics", "speed"], "--percentile-metrics"),
        (["bench", "--sim", "--base-url", "http://h"], "--sim"),
        (["bench", "--sim", "ttft=5"], "ttft_ms"),
        (["bench", "--warm-connections"], "--max-concurrency"),
        (["bench", "--api-key-file", "/nowhere"], "/nowhere"),
        (["bench", "--sim", "--json", "--csv", "-"], "--csv"),
        (["bench", "--sim", "--csv", "/nowhere/x.csv"], "/nowhere"),
        (["bench", "--sim", "--record", "/"], "is a folder"),
        (["bench", "--sim", "--json", "/nowhere/x.json"], "no folder /nowhere"),
        (["bench", "--sim", "--repeat", "2", "--json", "/"], "is a folder"),
        (["bench", "--sim", "--junit", "/nowhere/x", "--fail-if", "itl_p9>1s"], "no folder /nowhere"),
        (["sweep", "x.yaml", "--csv", "/nowhere/x.csv"], "no folder /nowhere"),
        (["bench", "--sim", "--dataset-name", "custom", "--dataset-path", "/nowhere"], "/nowhere"),
        (["dance"], "dance"),
        (["report", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_arguments_are_one_line_on_stderr_and_exit_code_2(words, says, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vllmperf: error: ")
    assert err.count("\n") == 1
    assert says in err


# ---- arguments to plans ----


def test_underscores_and_dashes_are_the_same_in_flags(capsys):
    assert main([*SIM, "--num_prompts=4", "--max_concurrency", "2", "--output_len", "2", "--json"]) in RAN
    assert json.loads(capsys.readouterr().out)["plan"]["max_concurrency"] == 2


def test_underscores_stay_in_values():
    assert task("--metadata", "a_b=c_d").notes.metadata == {"a_b": "c_d"}
    assert plan("--extra-body", '{"top_k": 1}').workload.extra_body == {"top_k": 1}


def test_the_flags_of_vllm_mean_what_they_mean_there():
    words = "--backend vllm --host h --port 9 --model m --request-rate 5 --burstiness 2 --max-concurrency 3"
    words += " --num-prompts 7 --seed 4 --random-input-len 10 --random-output-len 20 --random-range-ratio 0.5"
    words += " --random-prefix-len 6 --temperature 0 --top-k 5 --logprobs 2 --label l --request-id-prefix r-"
    words += " --goodput ttft:200 tpot:50 --header A=b=c D=e --percentile-metrics ttft,e2el --metric-percentiles 50,99.9"
    asked = task(*words.split())
    made, work, load = asked.plan, asked.plan.workload, asked.plan.load
    assert made.url == "http://h:9/v1/completions"
    assert (load.request_rate, load.burstiness, load.max_concurrency, load.num_prompts) == (5, 2, 3, 7)
    assert (work.input_len, work.output_len, work.prefix_len, work.random_range_ratio) == (10, 20, 6, 0.5)
    assert work.sampling == {"temperature": 0, "top_k": 5}
    assert made.target.headers == {"A": "b=c", "D": "e"}
    assert asked.notes.goodput == {"ttft": 200, "tpot": 50}
    assert asked.notes.metric_percentiles == (50, 99.9)
    assert work.ignore_eos is True


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", (1024, 128, 0)),
        ("--sonnet-input-len 5 --custom-output-len 9", (1024, 128, 0)),
        ("--input-len 7 --output-len 8 --random-input-len 9", (7, 8, 0)),
        ("--dataset-name sonnet", (550, 150, 200)),
        ("--dataset-name sonnet --sonnet-prefix-len 3 --random-prefix-len 4", (550, 150, 3)),
        ("--dataset-name sharegpt", (None, None, 0)),
        ("--dataset-name sharegpt --sharegpt-output-len 5", (None, 5, 0)),
        ("--dataset-name custom --custom-output-len -1", (None, None, 0)),
        ("--dataset-name custom --output-len 4", (None, 4, 0)),
    ],
)
def test_a_length_flag_counts_only_for_its_data_set(words, expected):
    path = ["--dataset-path", "x"] if "--dataset-name" in words else []
    found = plan(*words.split(), *path).workload.lengths
    assert (found.input, found.output, found.prefix) == expected


def test_random_asks_for_full_answers_and_other_data_only_when_told(tmp_path):
    assert plan().workload.ignore_eos
    assert not plan("--dataset-name", "custom", "--dataset-path", "x").workload.ignore_eos


def test_a_duration_or_a_trace_takes_the_place_of_the_number():
    assert plan().load.num_prompts == 1000
    assert plan("--duration", "1h30m", "--request-rate", "1").load.num_prompts is None
    assert plan("--duration", "1h30m", "--request-rate", "1").load.duration == 5400
    assert plan("--arrival", "trace", "--arrival-file", "x").load.num_prompts is None


def test_limits_are_seconds_or_durations():
    made = plan(
        "--connect-timeout", "500ms", "--stall-timeout", "5", "--total-timeout", "10m", "--grace-period", "0"
    )
    limits = made.limits
    assert (limits.connect_timeout, limits.stall_timeout) == (0.5, 5)
    assert (limits.total_timeout, limits.grace_period) == (600, 0)
    assert plan().limits.first_token_timeout == 300


def test_an_ipv6_host_gets_brackets():
    assert plan("--host", "::1").target.base_url == "http://[::1]:8000"


def test_the_key_comes_from_flag_file_or_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    (tmp_path / "key").write_text("from-file\n")
    assert task().credentials.api_key == "from-environment"
    assert task("--api-key", "from-flag").credentials.api_key == "from-flag"
    assert task("--api-key-file", str(tmp_path / "key")).credentials.api_key == "from-file"
    (tmp_path / "key").write_text("from-windows\r\n", encoding="utf-16", newline="")
    assert task("--api-key-file", str(tmp_path / "key")).credentials.api_key == "from-windows"
    (tmp_path / "key").write_text("\n")
    with pytest.raises(UsageError, match="is empty"):
        plan("--api-key-file", str(tmp_path / "key"))


def test_flags_that_change_the_requests_reach_the_plan():
    made = plan("--backend", "openai-chat", "--string-content", "--chat-max-tokens", "--fresh-connections")
    assert made.workload.string_content
    assert made.workload.chat_max_tokens
    assert made.load.fresh_connections
    assert made.load.warm_connections is None
    assert plan("--text-prompts").workload.text_prompts
    assert plan("--warm-connections", "0").load.warm_connections == 0


def test_the_help_names_content_and_max_tokens(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--string-content chat: send content as a plain string" in text
    assert "--chat-max-tokens chat: send the limit as max_tokens" in text


def test_warm_connections_without_a_number_are_as_many_as_in_flight():
    assert plan("--warm-connections", "--max-concurrency", "9").load.warm_connections == 9
    assert plan("--warm-connections", "4").load.warm_connections == 4


# ---- runs ----


def test_bench_prints_a_table_and_report_prints_it_again(tmp_path, capsys):
    path = tmp_path / "run"
    assert main([*SIM, *FEW, "--record", str(path)]) in RAN
    table = capsys.readouterr().out
    assert "TTFT" in table
    assert "completed" in table
    assert main(["report", str(path)]) in RAN
    assert capsys.readouterr().out == table


def test_json_is_all_that_goes_to_stdout(capsys):
    assert main(["bench", "--sim", "ttft_ms=2,itl_ms=0.5", *FEW, "--json", "--label", "lbl"]) in RAN
    summary = json.loads(capsys.readouterr().out)
    assert summary["schema"] == 1
    assert summary["requests"]["completed"] == 6
    assert summary["plan"]["label"] == "lbl"
    assert summary["plan"]["simulator"]["ttft_ms"] == "2"


def test_csv_takes_the_place_of_the_table_on_stdout_but_not_beside_it(tmp_path, capsys):
    assert main([*SIM, *FEW, "--csv", "-"]) in RAN
    assert len(capsys.readouterr().out.splitlines()) == 8
    assert main([*SIM, *FEW, "--csv", str(tmp_path / "x.csv")]) in RAN
    assert "TTFT" in capsys.readouterr().out
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 8


def test_the_result_file_is_written_where_it_is_wanted(tmp_path, capsys):
    words = ["--save-result", "--result-dir", str(tmp_path / "new"), "--result-filename", "r.json"]
    assert main([*SIM, *FEW, *words, "--metadata", "gpu=none"]) in RAN
    assert json.loads((tmp_path / "new" / "r.json").read_text())["gpu"] == "none"
    assert "r.json" in capsys.readouterr().err


def test_the_table_is_printed_even_when_a_file_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([*SIM, *FEW, "--save-result", "--result-dir", str(tmp_path / "file")]) == 2
    out, err = capsys.readouterr()
    assert "TTFT" in out
    assert "--result-dir" in err


def test_a_run_file_is_never_written_over(tmp_path, capsys):
    path = tmp_path / "run"
    path.write_text("mine")
    assert main([*SIM, "--record", str(path)]) == 2
    assert path.read_text() == "mine"
    assert "exists already" in capsys.readouterr().err


def test_nobody_there_is_exit_code_3(capsys):
    assert main(["bench", "--base-url", "http://127.0.0.1:9", "--no-progress"]) == 3
    assert "--base-url" in capsys.readouterr().err
    assert (
        main(
            [
                "bench",
                "--base-url",
                "http://127.0.0.1:9",
                "--model",
                "m",
                "--num-prompts",
                "2",
                "--no-progress",
            ]
        )
        == 3
    )
    assert "refused" in capsys.readouterr().out


def test_a_server_that_only_fails_is_exit_code_1(capsys):
    assert main(["bench", "--sim", "faults=status:code=500", *FEW, "--no-progress"]) == 1
    assert "http_error" in capsys.readouterr().out.replace(" ", "_")


def test_the_ready_check_is_made_before_the_run(capsys):
    words = ["--base-url", "http://127.0.0.1:9", "--ready-check-timeout-sec", "0.1", "--model", "m"]
    assert main(["bench", *words, "--num-prompts", "1", "--no-progress"]) == 3
    assert "refused" in capsys.readouterr().err


def test_ctrl_c_writes_what_came_prints_the_table_and_exits_with_130(tmp_path):
    path = tmp_path / "run"
    words = ["bench", "--sim", "ttft_ms=50,itl_ms=1", "--num-prompts", "100000", "--max-concurrency", "4"]
    process = command(*words, "--input-len", "8", "--output-len", "5", "--record", str(path))
    wait_for_rows(path, 10)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "TTFT" in out
    assert "Traceback" not in err
    assert rows(path) >= 10


def test_a_killed_run_leaves_a_file_that_can_be_reported(tmp_path, capsys):
    path = tmp_path / "run"
    words = ["bench", "--sim", "ttft_ms=50,itl_ms=1", "--num-prompts", "100000", "--max-concurrency", "4"]
    process = command(*words, "--input-len", "8", "--output-len", "5", "--record", str(path))
    wait_for_rows(path, 10)
    process.kill()
    process.communicate()
    assert main(["report", str(path), "--json"]) in (0, 1)
    summary = json.loads(capsys.readouterr().out)
    assert summary["state"] == "killed"
    assert summary["requests"]["completed"] >= 10


def rows(path):
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return db.execute("SELECT count(*) FROM requests").fetchone()[0]


def wait_for_rows(path, n):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if rows(path) >= n:
                return
        except sqlite3.Error:
            pass
        time.sleep(0.05)
    raise AssertionError(f"no {n} rows in {path}")


def test_nothing_is_printed_on_stderr_of_a_good_run_that_is_short():
    code, _, err = done(*SIM, *FEW)
    assert code in (0, 1)  # a busy machine may not be trusted
    assert err == ""


@pytest.mark.parametrize("words", ["bench", "fit --max-num-seqs 4", "capacity --ttft 500"])
def test_each_command_that_loads_a_server_can_be_told_how_to_ask_it(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (
        "--base-url https://127.0.0.1:9 --model m --api-key k --header A=b --insecure --cacert /no/such.pem"
    )
    assert main([*words.split(), *asked.split()]) == 2
    assert capsys.readouterr().err == "vllmperf: error: --cacert: there is no file /no/such.pem\n"


def test_a_misspelled_command_is_answered_with_the_nearest_one(capsys):
    assert main(["bnech", "--sim"]) == 2
    assert "no such command bnech: did you mean bench? See vllmperf --help" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_shows_a_percent_sign_twice(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert "%%" not in capsys.readouterr().out
