"""Whole commands against the simulator: files, exit codes, what is sent, what the numbers are."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vllmperf.cli import main as vllmperf
from vllmperf.dropin import shims
from vllmperf.errors import UsageError
from vllmperf.formats import guidellm_file
from vllmperf.sim import Server

FAST = {"ttft_ms": 3, "itl_ms": 1}
DATA = "prompt_tokens=16,output_tokens=6"


def words(url, more, path, data=DATA):
    return [
        "guidellm",
        "benchmark",
        "--target",
        url,
        "--data",
        data,
        "--output-path",
        str(path),
        *more.split(),
    ]


def run(tmp_path, more, name="out.json", data=DATA, **settings):
    """(exit code, report or None) of a run against a simulator with these settings."""
    path = tmp_path / name
    with Server(**{**FAST, **settings}) as server:
        code = vllmperf(words(server.url, more, path, data))
    return code, (guidellm_file.load(path) if path.exists() and path.suffix == ".json" else None)


def only(report):
    (found,) = report["benchmarks"]
    return found


def test_synchronous_sends_one_at_a_time_and_its_figures_are_the_servers(tmp_path, capsys):
    code, report = run(tmp_path, "--rate-type synchronous --max-requests 8", ttft_ms=20, itl_ms=4)
    found = only(report)
    assert code == 0
    assert found["request_totals"] == {"successful": 8, "errored": 0, "incomplete": 0, "total": 8}
    assert found["metrics"]["request_concurrency"]["successful"]["max"] == 1
    assert found["metrics"]["time_to_first_token_ms"]["successful"]["min"] >= 20
    assert found["metrics"]["inter_token_latency_ms"]["successful"]["median"] == pytest.approx(4, abs=1.5)
    assert found["metrics"]["output_token_count"]["total"]["mean"] == 6
    assert found["metrics"]["prompt_token_count"]["total"]["mean"] == 16
    out = capsys.readouterr().out
    assert "Created loader with 1000 unique requests from prompt_tokens=16,output_tokens=6." in out
    assert out.rstrip().endswith("Benchmarking complete.")


def test_several_streams_are_several_benchmarks(tmp_path):
    _, report = run(tmp_path, "--rate-type concurrent --rate 1,3 --max-requests 12 --disable-progress")
    shown = [found["args"]["strategy"]["streams"] for found in report["benchmarks"]]
    assert shown == [1, 3]
    tops = [found["metrics"]["request_concurrency"]["total"]["max"] for found in report["benchmarks"]]
    assert tops == [1, 3]
    profiles = [found["args"]["profile"] for found in report["benchmarks"]]
    assert profiles[0] == profiles[1]
    assert profiles[0]["completed_strategies"] == 2
    assert len({found["run_id"] for found in report["benchmarks"]}) == 1
    assert len({found["id_"] for found in report["benchmarks"]}) == 2


def test_throughput_is_bounded_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GUIDELLM__MAX_CONCURRENCY", "5")
    _, report = run(tmp_path, "--rate-type throughput --max-requests 30 --disable-progress", ttft_ms=20)
    assert only(report)["metrics"]["request_concurrency"]["total"]["max"] == 5
    assert only(report)["args"]["strategy"]["max_concurrency"] is None


def test_the_end_of_time_cuts_off_and_says_so(tmp_path):
    code, report = run(tmp_path, "--rate-type throughput --profile kind=throughput,max_concurrency=3 --max-seconds 0.5 "
                       "--disable-progress", data="prompt_tokens=4,output_tokens=400", itl_ms=5)  # fmt: skip
    # 400 tokens at 5 ms take 2 s: none can end
    assert code == 1
    found = only(report)
    assert found["request_totals"]["incomplete"] == 3
    row = found["requests"]["incomplete"][0]
    assert row["error"] == "TimeoutError: The request timed out before completing."
    assert row["scheduler_info"]["canceled"] is True
    assert 1 < row["output_tokens"] < 120
    assert found["metrics"]["output_token_count"]["total"]["count"] == 3


@pytest.mark.parametrize("kind", ["constant", "poisson", "async"])
def test_a_rate_has_times_of_its_own(tmp_path, kind):
    _, report = run(
        tmp_path, f"--rate-type {kind} --rate 50 --max-requests 25 --disable-progress --random-seed 3"
    )
    found = only(report)
    targeted = sorted(row["scheduler_info"]["targeted_start_time"] for row in found["requests"]["successful"])
    started = found["args"]["strategy"]["start_time"]
    assert targeted[0] == pytest.approx(started, abs=1e-4)
    assert targeted[0] != targeted[1]  # no burst
    if kind != "poisson":
        assert targeted[-1] - started == pytest.approx(24 / 50, abs=1e-4)


def test_the_burst_comes_when_it_is_asked_for(tmp_path):
    _, report = run(
        tmp_path, "--rate-type constant --rate 10 --max-requests 15 --disable-progress --guidellm-burst"
    )
    found = only(report)
    targeted = [row["scheduler_info"]["targeted_start_time"] for row in found["requests"]["successful"]]
    assert sum(abs(time - min(targeted)) < 1e-4 for time in targeted) == 10
    assert found["args"]["strategy"]["initial_burst"] is True


def test_a_sweep_runs_between_the_rates_that_it_measured(tmp_path):
    _, report = run(tmp_path, "--rate-type sweep --rate 4 --max-requests 15 --disable-progress", ttft_ms=10)
    kinds = [found["args"]["strategy"]["type_"] for found in report["benchmarks"]]
    assert kinds == ["synchronous", "throughput", "constant", "constant"]
    low, high = report["benchmarks"][0]["args"]["profile"]["measured_rates"][:2]
    rates = [found["args"]["strategy"]["rate"] for found in report["benchmarks"][2:]]
    assert rates == pytest.approx([(low + high) / 2, high])


def test_warm_up_and_cool_down_do_not_count_but_are_told_of(tmp_path):
    more = "--rate-type concurrent --rate 2 --max-requests 20 --warmup-percent 0.1 --cooldown-percent 0.2"
    _, report = run(tmp_path, f"{more} --disable-progress")
    found = only(report)
    assert found["request_totals"]["total"] == 20 - 2 - 4
    assert found["run_stats"]["requests_made"]["total"] == 20
    assert (found["args"]["warmup_number"], found["args"]["cooldown_number"]) == (2, 4)


def test_warm_up_in_seconds_begins_with_the_load(tmp_path):
    _, report = run(
        tmp_path, "--rate-type constant --rate 20 --max-seconds 1 --warmup-percent 0.5 --disable-progress"
    )
    found = only(report)
    started = found["args"]["strategy"]["start_time"]
    assert found["start_time"] > started + 0.5
    assert 0 < found["request_totals"]["total"] < found["run_stats"]["requests_made"]["total"]


def test_a_file_without_limits_is_sent_once(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"say {n}", "output_tokens": 3}) + "\n" for n in range(5)))
    _, report = run(tmp_path, "--rate-type synchronous --disable-progress", data=str(path))
    found = only(report)
    assert sorted(row["prompt"] for row in found["requests"]["successful"]) == [f"say {n}" for n in range(5)]
    assert found["args"]["max_number"] == 5


def test_no_two_requests_of_any_runs_have_the_same_id(tmp_path):
    more = "--rate-type concurrent --rate 1,2 --max-requests 5 --disable-progress"
    reports = [run(tmp_path, more, name)[1] for name in ("a.json", "b.json")]
    entries = [found for report in reports for found in report["benchmarks"]]
    ids = [row["request_id"] for found in entries for row in found["requests"]["successful"]]
    assert len(ids) == len(set(ids)) == 20
    assert {str(uuid.UUID(text, version=4)) for text in ids} == set(ids)  # as guidellm's own


def test_a_second_benchmark_goes_on_with_other_prompts(tmp_path):
    more = "--rate-type concurrent --rate 1,2 --max-requests 10 --disable-progress"
    _, report = run(tmp_path, more, data=DATA + ",samples=15")
    first, second = (
        {row["prompt"] for row in found["requests"]["successful"]} for found in report["benchmarks"]
    )
    assert len(first) == len(second) == 10
    assert len(first & second) == 5  # 15 in all, and then from the first on


def test_a_file_without_limits_is_sent_by_each_benchmark(tmp_path):
    path = tmp_path / "prompts.jsonl"
    texts = ["one", "three", "two"]
    path.write_text("".join(json.dumps({"prompt": text, "output_tokens": 3}) + "\n" for text in texts))
    _, report = run(tmp_path, "--rate-type concurrent --rate 1,2 --disable-progress", data=str(path))
    for found in report["benchmarks"]:
        assert sorted(row["prompt"] for row in found["requests"]["successful"]) == texts


@pytest.mark.parametrize("name", ["out.yaml", "out.csv", "out.html", "new/out.json"])
def test_the_suffix_says_what_is_written(tmp_path, name):
    code, _ = run(tmp_path, "--rate-type synchronous --max-requests 3 --disable-progress", name)
    text = (tmp_path / name).read_text()
    assert code == 0
    assert text.startswith(
        {"yaml": "benchmarks:\n", "csv": "Type,Run Id", "html": "<!doctype", "json": "{"}[
            name[-4:].lstrip(".")
        ]
    )


@pytest.mark.parametrize("name", ["a.json", "b.yaml", "c.csv", "d.html"])
def test_half_a_surrogate_pair_in_a_prompt_does_not_cost_the_report(tmp_path, name):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a \\ud800 b", "output_tokens": 2}\n')
    more = ["--rate-type", "synchronous", "--max-requests", "1", "--data", str(tmp_path / "p.jsonl")]
    with Server(**FAST) as server:
        assert (
            vllmperf(
                [
                    "guidellm",
                    "benchmark",
                    "--target",
                    server.url,
                    *more,
                    "--output-path",
                    str(tmp_path / name),
                ]
            )
            == 0
        )
    assert (tmp_path / name).stat().st_size > 0
    if name == "a.json":
        (row,) = only(guidellm_file.load(tmp_path / name))["requests"]["successful"]
        assert row["prompt"] == "a \ud800 b"


def test_a_folder_gets_benchmarks_json(tmp_path):
    run(tmp_path, "--rate-type synchronous --max-requests 2 --disable-progress", ".")
    assert (tmp_path / "benchmarks.json").is_file()


def test_sampling_and_extras_are_in_the_file(tmp_path):
    more = '--rate-type synchronous --max-requests 6 --output-sampling 2 --output-extras {"note":"x"}'
    _, report = run(tmp_path, f"{more} --disable-progress")
    found = only(report)
    assert (len(found["requests"]["successful"]), found["request_samples"]["successful"]) == (2, 2)
    assert found["request_totals"]["successful"] == 6
    assert found["extras"] == {"note": "x"}


def test_progress_and_tables_can_be_silenced(tmp_path, capsys):
    run(tmp_path, "--rate-type synchronous --max-requests 2 --disable-progress --disable-console-outputs")
    assert capsys.readouterr().out == ""
    run(tmp_path, "--rate-type synchronous --max-requests 2 --disable-progress", "b.json")
    out = capsys.readouterr().out
    assert "Benchmarks Stats:" in out
    assert "Saving" not in out


def test_a_saved_report_is_printed_again_and_written_in_another_format(tmp_path, capsys):
    run(tmp_path, "--rate-type synchronous --max-requests 3 --disable-progress")
    first = capsys.readouterr().out
    code = vllmperf(
        [
            "guidellm",
            "benchmark",
            "from-file",
            str(tmp_path / "out.json"),
            "--output-path",
            str(tmp_path / "a.csv"),
        ]
    )
    again = capsys.readouterr().out
    assert code == 0
    assert again.startswith(first)
    assert (tmp_path / "a.csv").read_text().startswith("Type,")


def test_a_command_of_0_7_runs_and_writes_each_output(tmp_path, capsys):
    with Server(**FAST) as server:
        command = [
            *("run", "--backend", f"kind=openai_http,target={server.url},request_format=/v1/completions"),
            *("--profile", "kind=synchronous", "--constraint", "kind=max_requests,count=3"),
            *("--data", "kind=synthetic_text,prompt_tokens=4,output_tokens=5", "--label", "gpu=a"),
            *(
                "--output",
                f"kind=json,path={tmp_path}/a.json",
                "--output",
                f"kind=html,path={tmp_path}/a.html",
            ),
        ]
        assert vllmperf(["guidellm", *command]) == 0
    out = capsys.readouterr().out
    assert out.count("Benchmarks report saved to") == 2
    found = only(guidellm_file.load(tmp_path / "a.json"))
    assert (found["request_totals"]["successful"], found["extras"]) == (3, {"labels": {"gpu": "a"}})
    assert (tmp_path / "a.html").read_text().startswith("<!doctype")
    assert (
        vllmperf(["guidellm", "export", f"{tmp_path}/a.json", "--output", f"kind=csv,path={tmp_path}/b.csv"])
        == 0
    )
    assert (tmp_path / "b.csv").read_text().startswith("Type,")


def test_a_console_alone_leaves_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Server(**FAST) as server:
        more = "--rate-type synchronous --max-requests 1 --output kind=console"
        words = ["guidellm", "benchmark", "--target", server.url, "--data", DATA, *more.split()]
        assert vllmperf(words) == 0
    assert list(tmp_path.iterdir()) == []
    out = capsys.readouterr().out
    assert "Benchmarks Stats:" in out
    assert "Saving" not in out


# ---- what is sent ----


class Recorder(BaseHTTPRequestHandler):
    """Answers like a server and keeps what it was asked."""

    asked = None  # a list, set for each server
    good_for = 10**9  # requests until it only fails

    def do_GET(self):
        self.asked.append((self.path, dict(self.headers), None))
        self._send(b'{"data": [{"id": "first"}, {"id": "second"}]}', "application/json")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, dict(self.headers), body))
        if len(self.asked) > self.good_for:
            self.send_error(503)
            return
        delta = {"delta": {"content": "a"}} if "chat" in self.path else {"text": "a"}
        events = [
            {"choices": [delta]},
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        ]
        data = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self._send(data.encode(), "text/event-stream")

    def _send(self, data, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Quiet(ThreadingHTTPServer):
    """Says nothing when a client goes away."""

    def handle_error(self, *_):
        pass


@pytest.fixture
def recorder():
    asked = []
    own = type("Own", (Recorder,), {"asked": asked})
    server = Quiet(("127.0.0.1", 0), own)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked, own
    server.shutdown()
    thread.join()
    server.server_close()


ONCE = "--rate-type synchronous --max-requests 1 --disable-progress --disable-console-outputs"


def test_completions_carry_guidellms_fields(tmp_path, recorder):
    url, asked, _ = recorder
    assert vllmperf(words(url + "/v1/", ONCE, tmp_path / "a.json")) == 0
    assert [path for path, _, _ in asked] == ["/v1/models", "/v1/completions", "/v1/completions"]
    body = asked[-1][2]
    prompt = body.pop("prompt")
    assert len(prompt) == 16
    assert body == {
        "model": "first",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 6,
        "stop": None,
        "ignore_eos": True,
    }
    assert asked[1][2]["max_tokens"] == 1  # the question before the run


def test_chat_and_headers_and_more_of_the_body(tmp_path, recorder, monkeypatch):
    url, asked, _ = recorder
    monkeypatch.setenv("GUIDELLM__PREFERRED_ROUTE", "chat_completions")
    monkeypatch.setenv("GUIDELLM__OPENAI__API_KEY", "sk-secret")
    arguments = {"headers": {"x-team": "a"}, "extra_body": {"temperature": 0}, "remove_from_body": ["stop"]}
    command = [
        *words(url, ONCE + " --model second", tmp_path / "a.json"),
        "--backend-args",
        json.dumps(arguments),
    ]
    assert vllmperf(command) == 0
    path, headers, body = asked[-1]
    assert path == "/v1/chat/completions"
    assert (headers["Authorization"], headers["x-team"]) == ("Bearer sk-secret", "a")
    assert (body["model"], body["temperature"], body["max_completion_tokens"]) == ("second", 0, 6)
    assert "stop" not in body
    assert body["messages"][0]["role"] == "user"
    text = (tmp_path / "a.json").read_text()
    assert "sk-secret" not in text
    assert '"chat_completions"' in text


def test_the_field_of_the_longest_answer_is_the_environments(tmp_path, recorder, monkeypatch):
    url, asked, _ = recorder
    monkeypatch.setenv("GUIDELLM__OPENAI__MAX_OUTPUT_KEY", '{"text_completions": "most"}')
    assert vllmperf(words(url, ONCE, tmp_path / "a.json")) == 0
    assert [body["most"] for _, _, body in asked[1:]] == [1, 6]
    assert all("max_tokens" not in body for _, _, body in asked[1:])
    ids = [headers["x-request-id"] for _, headers, _ in asked[1:]]
    assert {str(uuid.UUID(text, version=4)) for text in ids} == set(ids)
    assert len(set(ids)) == 2


def test_a_backend_that_is_not_to_be_validated_gets_no_question_of_one_token(tmp_path, recorder):
    url, asked, _ = recorder
    backend = f"kind=openai_http,target={url},validate_backend=false,extras.body.temperature=0.5"
    more = ["--profile", "kind=synchronous", "--constraint", "kind=max_requests,count=1", "--disable-console"]
    data = [
        "--data",
        "kind=synthetic_text,prompt_tokens=4,output_tokens=5",
        "--output",
        f"kind=json,path={tmp_path}/a.json",
    ]
    assert vllmperf(["guidellm", "run", "--backend", backend, *more, *data]) == 0
    assert [path for path, _, _ in asked] == ["/v1/models", "/v1/chat/completions"]
    assert (asked[-1][2]["temperature"], asked[-1][2]["max_completion_tokens"]) == (0.5, 5)


def test_without_a_length_the_most_is_the_environments_and_the_answer_may_end(
    tmp_path, recorder, monkeypatch
):
    url, asked, _ = recorder
    monkeypatch.setenv("GUIDELLM__OPENAI__MAX_OUTPUT_TOKENS", "77")
    (tmp_path / "p.txt").write_text("hello\n")
    assert vllmperf(words(url, ONCE, tmp_path / "a.json", str(tmp_path / "p.txt"))) == 0
    body = asked[-1][2]
    assert body["max_tokens"] == 77
    assert "ignore_eos" not in body
    found = only(guidellm_file.load(tmp_path / "a.json"))
    assert found["metrics"]["prompt_token_count"]["successful"]["mean"] == 3  # as the server counted


# ---- what goes wrong ----


def test_failed_requests_are_errored_rows_and_the_exit_code_stays_0(tmp_path):
    more = "--rate-type synchronous --max-requests 10 --disable-progress"
    code, report = run(tmp_path, more, faults=["status:code=500@every=3"])
    found = only(report)
    assert code == 0
    assert found["request_totals"]["errored"] >= 3
    assert found["requests"]["errored"][0]["error"].startswith("http_error 500")
    assert found["requests"]["errored"][0]["output_tokens"] == 0


def test_a_server_that_is_gone_does_not_fill_the_report_for_the_rest_of_the_time(tmp_path, recorder, capsys):
    url, _, own = recorder
    began = time.monotonic()
    own.good_for = 20
    more = (
        "--profile kind=concurrent,streams=4 --max-seconds 1000 --disable-progress --disable-console-outputs"
    )
    assert vllmperf(words(url, more, tmp_path / "a.json")) == 1
    said = capsys.readouterr().err
    assert "given up after 1000 failed requests in a row, the last: http_error 503" in said
    found = only(guidellm_file.load(tmp_path / "a.json"))
    assert found["request_totals"]["errored"] >= 1000
    assert found["request_totals"]["successful"] > 0
    assert time.monotonic() - began < 500


def test_no_server_is_exit_code_3_with_one_line(tmp_path, capsys):
    code = vllmperf(words("http://127.0.0.1:9", ONCE, tmp_path / "a.json"))
    said = capsys.readouterr().err
    assert code == 3
    assert said.count("\n") == 1
    assert "127.0.0.1:9" in said
    assert "--target" in said
    assert not (tmp_path / "a.json").exists()


def test_a_server_that_wants_a_key_is_exit_code_3_and_says_where_to_give_it(tmp_path, recorder, capsys):
    url, _, own = recorder
    own.do_GET = lambda self: self.send_error(401)
    assert vllmperf(words(url, ONCE, tmp_path / "a.json")) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "401" in said
    assert "GUIDELLM__OPENAI__API_KEY" in said


def test_a_model_that_the_server_has_not_is_exit_code_3(tmp_path, capsys):
    code, _ = run(tmp_path, ONCE + " --model other")
    assert code == 3
    assert "other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("--rate-type constant", "--rate"),
        ("--rate-type synchronous --rate 3", "--rate"),
        ('--rate-type synchronous --backend-args {"extra_query":{"a":1}}', "extra_query"),
        ("--rate-type synchronous --output-path out.xlsx", "out.xlsx"),
        ("--rate-type synchronous --data hub/set", "--data is given more than once"),
        ("--rate-type synchronous --unknown-flag 1", "--unknown-flag"),
    ],
)
def test_refusals_are_exit_code_2_and_name_what_is_wrong(tmp_path, capsys, more, word):
    assert vllmperf(words("http://127.0.0.1:9", more, tmp_path / "a.json")) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("target", ["localhost:8000", "ftp://host"])
def test_a_target_that_is_no_address_is_named_by_guidellms_flag(tmp_path, capsys, target):
    assert vllmperf(words(target, ONCE, tmp_path / "a.json")) == 2
    assert f"--target is '{target}'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing.json", "report.txt", "text.json"])
def test_what_is_no_report_is_said_in_one_line(tmp_path, capsys, name):
    (tmp_path / "report.txt").write_text("{}")
    (tmp_path / "text.json").write_text("hello")
    assert vllmperf(["guidellm", "benchmark", "from-file", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert name in said
    assert "--output-path" not in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "word"),
    [("no/file.jsonl", "no/file.jsonl"), ("turns=2,prompt_tokens=4,output_tokens=4", "turns is not known")],
)
def test_data_that_cannot_be_used_are_named_before_the_server_is_asked(tmp_path, capsys, data, word):
    assert vllmperf(words("http://127.0.0.1:9", ONCE, tmp_path / "a.json", data)) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "instead"),
    [("preprocess dataset a.csv b.jsonl", "--data prompt_tokens"), ("mock-server", "vllmperf sim")],
)
def test_other_commands_of_guidellm_are_refused_with_what_to_do(capsys, command, instead):
    assert vllmperf(["guidellm", *command.split()]) == 2
    said = capsys.readouterr().err
    assert command.split()[0] in said
    assert instead in said
    assert said.count("\n") == 1


def test_config_prints_the_variables(capsys, monkeypatch):
    monkeypatch.setenv("GUIDELLM__MAX_CONCURRENCY", "64")
    assert vllmperf(["guidellm", "config"]) == 0
    assert 'GUIDELLM__MAX_CONCURRENCY="64"' in capsys.readouterr().out


def test_ctrl_c_keeps_what_came(tmp_path):
    path = tmp_path / "out.json"
    with Server(**FAST) as server:
        command = [
            sys.executable,
            "-m",
            "vllmperf",
            *words(server.url, "--rate-type synchronous --max-seconds 600", path),
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        for line in process.stdout:
            if line.startswith("Created loader"):
                break
        while server.stats["finished"] < 9:  # one after the other: the first have been read
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Benchmarks Stats:" in out
    assert out.rstrip().endswith("Benchmarking interrupted.")
    assert only(guidellm_file.load(path))["request_totals"]["successful"] > 0


@pytest.mark.parametrize("place", ["file/a.json", "folder/b.json", "/proc/nothing/a.json"])
def test_a_place_that_cannot_be_written_is_said_before_the_run(tmp_path, capsys, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "b.json").mkdir(parents=True)
    (tmp_path / "folder" / "b.json" / "benchmarks.json").mkdir()
    assert vllmperf(words("http://127.0.0.1:9", ONCE, tmp_path / place)) == 2
    said = capsys.readouterr().err
    assert "--output-path" in said
    assert said.count("\n") == 1


def test_what_stands_in_a_file_stays_until_there_is_something_else_to_write(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    assert vllmperf(words("http://127.0.0.1:9", ONCE, path)) == 3
    assert path.read_text() == "old"
    assert vllmperf(words("http://127.0.0.1:9", ONCE, tmp_path / "new" / "a.json")) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_reader_that_goes_away_does_not_cost_the_report(tmp_path):
    path = tmp_path / "out.json"
    with Server(**FAST) as server:
        command = [
            sys.executable,
            "-m",
            "vllmperf",
            *words(server.url, "--rate-type synchronous --max-seconds 1", path),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.close()
        said = process.stderr.read()
        process.stderr.close()
        process.wait(timeout=120)
    assert b"Traceback" not in said
    assert only(guidellm_file.load(path))["request_totals"]["successful"] > 0


# ---- shims ----


def test_shims_are_programs_under_the_old_names(tmp_path, capsys):
    folder = tmp_path / "bin"
    assert vllmperf(["shims", str(folder)]) == 0
    names = ["guidellm", "benchmark_serving.py", "llm_bench", "llm_bench.py"]
    assert capsys.readouterr().out.split() == [str(folder / name) for name in names]
    for name in names:
        shown = subprocess.run([folder / name, "--help"], capture_output=True, text=True, check=False)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout
    assert vllmperf(["shims", str(folder)]) == 0  # again is fine


def test_a_program_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "guidellm").write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match="guidellm is there already"):
        shims.write(tmp_path)
    assert (tmp_path / "guidellm").read_text() == "#!/bin/sh\n"


def test_the_shim_runs_a_benchmark(tmp_path):
    shims.write(tmp_path)
    with Server(**FAST) as server:
        command = [tmp_path / "guidellm", *words(server.url, ONCE, tmp_path / "a.json")[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert only(guidellm_file.load(tmp_path / "a.json"))["request_totals"]["successful"] == 1
