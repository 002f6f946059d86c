"""Whole commands against the simulator: files, and what the numbers are."""

import json
import uuid

import pytest
from guidellm_commands import DATA, FAST, only, run

from vllmperf.cli import main as vllmperf
from vllmperf.formats import guidellm_file
from vllmperf.sim import Server


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
