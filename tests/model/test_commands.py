"""The commands fit, size and capacity from their words to what they print."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")

from vllmperf.cli import main
from vllmperf.model.simulate import Load

SIZE = ["size", "--alpha", "7", "--beta", "0.1", "--max-num-seqs", "8"]


@pytest.fixture(autouse=True)
def short_simulations(monkeypatch):
    monkeypatch.setattr("vllmperf.model.sizing.AT_BEST", 20_000)


def benchmarks(path: Path, itl_ms: float, concurrency: float) -> Path:
    def block(mean):
        return {"successful": {"mean": mean}}

    metrics = {
        "request_concurrency": block(concurrency),
        "inter_token_latency_ms": block(itl_ms),
        "time_to_first_token_ms": block(15.0),
        "prompt_token_count": block(128.0),
        "output_token_count": block(128.0),
    }
    path.write_text(json.dumps({"benchmarks": [{"metrics": metrics}]}))
    return path


@pytest.fixture
def two(tmp_path):
    return [
        str(benchmarks(tmp_path / "sync.json", 7.0, 1.0)),
        str(benchmarks(tmp_path / "thr.json", 8.7, 63.94)),
    ]


def test_two_guidellm_files_give_the_documents_solution_with_what_rounding_leaves(two, capsys):
    assert main(["fit", *two, "--batch", "1,64", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    alpha, beta = data["parameters"]["alpha"], data["parameters"]["beta"]
    assert (round(alpha["value"], 3), round(beta["value"], 3)) == (6.973, 0.027)
    assert beta["ci95"] == pytest.approx([0.0269841 - 0.1 / 63, 0.0269841 + 0.1 / 63], abs=1e-6)
    assert alpha["unit"] == "ms"
    assert data["fit"]["dof"] == 0
    assert data["valid"]["batch"] == [1, 64]
    assert any("rounding" in warning for warning in data["warnings"])


def test_two_files_without_batches_take_the_concurrency_that_was_reported(two, capsys):
    assert main(["fit", *two, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["valid"]["batch"] == [1, 63.94]


def test_a_fit_is_drawn(two, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib (the extra `plots`) is not installed")
    assert main(["fit", *two, "--batch", "1,64", "--plot", str(tmp_path / "fit.png")]) == 0
    assert (tmp_path / "fit.png").stat().st_size > 1000


def test_a_server_that_does_not_say_its_limit_is_asked_for_it(capsys):
    from vllmperf.sim import Server

    with Server(mode="batching") as server:
        assert main(["fit", "--base-url", server.url, "--budget", "60"]) == 2
    assert "give --max-num-seqs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fit"], "either --base-url"),
        (["fit", "x.json", "--base-url", "http://x:1"], "either --base-url"),
        (["fit", "--base-url", "http://x:1", "--max-num-seqs", "1"], "--max-num-seqs must be at least 2"),
        (["capacity", "--base-url", "http://x:1"], "give --ttft"),
        (["capacity", "--base-url", "http://x:1", "--ttft", "-1"], "above 0"),
        (["capacity", "--base-url", "http://x:1", "--ttft", "9", "--goodput-share", "1"], "below 1"),
        (["capacity", "--base-url", "http://x:1", "--ttft", "9", "--plot", "/nowhere/x.png"], "no folder"),
        (["fit", "--base-url", "http://x:1", "--max-num-seqs", "4", "--plot", "x.txt"], "ends in .png"),
        (["fit", "--base-url", "http://x:1", "--ttft", "9"], "--ttft is for --emit"),
        (["fit", "--base-url", "http://x:1", "--batch", "1,2"], "--batch is of result files"),
        (
            ["capacity", "--base-url", "http://x:1", "--ttft", "9", "--output-dir", "/proc/x"],
            "cannot be made",
        ),
        (["size", "--max-num-seqs", "8"], "give --alpha and --beta"),
        ([*SIZE], "give --ttft"),
        ([*SIZE, "--tpot", "3"], "a request alone has TPOT 7.1 ms"),
        ([*SIZE, "--tpot", "nan"], "--tpot must be above 0"),
        ([*SIZE, "--tps", "0"], "--tps must be above 0"),
        ([*SIZE, "--tpot", "p100:9"], "between 0 and 100"),
        ([*SIZE, "--tpot", "fast"], "--tpot must be ms like 500"),
        (["size", "--alpha", "7", "--beta", "0.1", "--tpot", "9"], "give --max-num-seqs"),
        (["capacity", "--base-url", "http://x:1", "--ttft", "mean:9"], "must be a percentile"),
        (
            ["capacity", "--base-url", "http://x:1", "--ttft", "p90:9", "--tpot", "5"],
            "must name one percentile",
        ),
        ([*SIZE, "--tpot", "9", "--input-spread", "2"], "lognormal"),
        ([*SIZE, "--tpot", "9", "--output-len", "1"], "outputs of one token"),
        ([*SIZE, "--tpot", "9", "--seed", "-1"], "--seed must be at least 0"),
        ([*SIZE, "--tpot", "9", "--delta", "-1"], "--delta must be at least 0"),
        ([*SIZE, "--tpot", "9", "--requests", "/nowhere.vllmperf"], "/nowhere.vllmperf"),
        (["size", "/nowhere.json", "--max-num-seqs", "8", "--tpot", "9"], "cannot read /nowhere.json"),
    ],
)
def test_wrong_words_are_said_in_one_line(words, told, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_capacity_that_no_server_has_is_no_traceback(capsys):
    assert main(["capacity", "--base-url", "http://127.0.0.1:9", "--ttft", "100", "--budget", "5"]) == 3
    assert "error:" in capsys.readouterr().err


def test_a_search_prints_its_json_and_leaves_it_in_the_folder(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib (the extra `plots`) is not installed")
    words = ["capacity", "--sim", "mode=batching,alpha_ms=4,beta_ms=0.3,max_num_seqs=8,delta_ms=0.002"]
    words += ["--ttft", "300", "--budget", "12", "--input-len", "16", "--output-len", "24", "--json"]
    words += ["--output-dir", str(tmp_path / "run"), "--plot", str(tmp_path / "plot.png")]
    assert main(words) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == 2
    assert data["estimate_per_s"]["value"] > 0
    assert json.loads((tmp_path / "run" / "capacity.json").read_text()) == data
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_a_search_is_printed_as_a_table():
    from tests.model.test_capacity import told
    from vllmperf.report.capacity import sheet

    shown = sheet(told(240.0)).text()
    assert "The server carries" in shown
    assert "TTFT ≤ 400 ms and TPOT ≤ 20 ms" in shown
    assert "pass" in shown


@pytest.mark.parametrize("command", [SIZE, ["capacity", "--base-url", "http://127.0.0.1:9", "--model", "x"]])
def test_the_old_name_of_the_goal_for_tpot_works_and_says_so(command, capsys):
    assert main([*command, "--itl", "nan"]) == 2
    error = capsys.readouterr().err
    assert "note: --itl is now --tpot" in error
    assert "--tpot must be above 0" in error


REPLICA = ["size", "--alpha", "7", "--beta", "0.1", "--max-num-seqs", "8", "--output-len", "32"]


def sized(capsys, *words):
    assert main([*REPLICA, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_goal_of_tokens_keeps_a_tenth_unused_and_says_the_replicas(capsys):
    whole = sized(capsys, "--ttft", "1e6")
    part = sized(capsys, "--ttft", "1e6", "--tps", "10000")
    assert whole["limited_by"] == "capacity"
    assert part["limited_by"] == "tps"
    rate = part["max_rate_per_s"]["value"]
    assert rate == pytest.approx(0.9 * whole["max_rate_per_s"]["value"], rel=0.01)
    assert part["replicas"]["value"] == math.ceil(10000 / 32 / rate)
    assert part["rate_of_each_per_s"] <= rate


def test_a_percentile_asks_for_more_than_the_mean(capsys):
    mean, both, one = (
        sized(capsys, "--ttft", ttft, "--tpot", tpot)["max_rate_per_s"]["value"]
        for ttft, tpot in (("mean:30", "mean:7.6"), ("30", "p99:7.6"), ("mean:30", "7.6"))
    )
    assert both <= one < mean


def test_requests_of_a_recorded_run_are_sized_for(tmp_path, capsys):
    file = str(tmp_path / "run.vllmperf")
    words = [
        "bench",
        "--sim",
        "ttft_ms=1,itl_ms=0",
        "--num-prompts",
        "30",
        "--input-len",
        "20",
        "--output-len",
        "10",
    ]
    assert main([*words, "--random-range-ratio", "0.5", "--ignore-eos", "--record", file]) in (0, 1)
    capsys.readouterr()
    seen = sized(capsys, "--tpot", "7.6", "--requests", file)["requests"]
    assert seen["distribution"] == "seen"
    assert 5 <= seen["output_tokens"] <= 15


def test_lognormal_lengths_have_their_mean_and_spread():
    prompts, outputs = Load(200, 100, 0.5, 1.0, "lognormal").draw(np.random.default_rng(1), 100_000)
    assert prompts.mean() == pytest.approx(200, rel=0.02)
    assert outputs.std() / outputs.mean() == pytest.approx(1.0, rel=0.05)


def test_the_sizing_is_printed_with_the_published_model_beside(capsys):
    assert main([*REPLICA, "--gamma", "9", "--delta", "0.01", "--tpot", "mean:7.6", "--rate", "90"]) == 0
    shown = capsys.readouterr().out
    assert "limited by TPOT (mean)" in shown
    assert "4-par." in shown
    assert "replicas" in shown


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_size_answers_from_a_file_of_fit_with_the_published_model_beside(two, tmp_path, capsys, encoding):
    parameters = {"alpha": (7.0, 0.05), "beta": (0.1, 0.002), "gamma": (9.0, 0.2), "delta": (0.01, 0.001)}
    file = tmp_path / "parameters.json"
    file.write_text(
        json.dumps(
            {
                "parameters": {
                    name: {"value": value, "unit": "ms", "ci95": [value - off, value + off]}
                    for name, (value, off) in parameters.items()
                }
            }
        ),
        encoding=encoding,
    )
    words = ["size", str(file), "--max-num-seqs", "16", "--input-len", "64", "--output-len", "32"]
    assert main([*words, "--ttft", "200", "--tpot", "20", "--rate", "100", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    low, high = data["max_rate_per_s"]["ci95"]
    assert low < data["max_rate_per_s"]["value"] < high
    assert data["replicas"]["value"] >= 2
    published = data["published_models"]["4-parameter"]
    assert published["tpot_ms"] > 7
    assert published["max_rate_per_s"] > data["max_rate_per_s"]["value"]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path, capsys):
    files = []
    for folder, itl_ms, concurrency in (("sync", 7.0, 1.0), ("full", 8.7, 64.0)):
        (tmp_path / folder).mkdir()
        files.append(str(benchmarks(tmp_path / folder / "benchmarks.json", itl_ms, concurrency)))
    assert main(["fit", *files, "--json"]) == 0
    labels = [point["label"] for point in json.loads(capsys.readouterr().out)["points"]]
    assert labels == ["sync/benchmarks.json", "full/benchmarks.json"]


def test_a_sweep_in_one_file_has_its_rows_numbered_and_takes_no_batch(tmp_path, capsys):
    file = benchmarks(tmp_path / "sweep.json", 7.0, 1.0)
    one = json.loads(file.read_text())["benchmarks"][0]
    other = json.loads(benchmarks(tmp_path / "other.json", 8.0, 33.0).read_text())["benchmarks"][0]
    file.write_text(json.dumps({"benchmarks": [one, other]}))
    assert main(["fit", str(file), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [point["label"] for point in data["points"]] == ["sweep.json #1", "sweep.json #2"]
    assert data["valid"]["input_tokens"] == [128, 128]
    assert main(["fit", str(file), "--batch", "4"]) == 2
    assert "leave --batch out" in capsys.readouterr().err


@pytest.mark.parametrize("itl", ["null", "NaN", "0", '"fast"'])
def test_a_result_without_latencies_is_named_in_one_line(itl, tmp_path, capsys):
    file = tmp_path / "result.json"
    file.write_text(f'{{"mean_itl_ms": {itl}, "output_throughput": 10, "completed": 3}}')
    assert main(["fit", str(file), str(file), "--batch", "1,8"]) == 2
    error = capsys.readouterr().err
    assert "result.json" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["fit", "--max-num-seqs", "4", "--budget", "60"], ["capacity", "--ttft", "9"]]
)
def test_a_server_that_answers_nothing_ends_the_command_at_once(words, capsys):
    words = [*words, "--base-url", "http://127.0.0.1:9", "--model", "x", "--budget", "40"]
    assert main(words) == 3
    error = capsys.readouterr().err
    assert "not one request was answered (" in error
    assert error.count("\n") == 1


def test_outputs_of_one_token_have_no_tpot_in_a_sizing(capsys):
    data = sized(capsys, "--ttft", "100", "--output-len", "1")
    assert set(data["at_max_rate"]["tpot"].values()) == {None}
    assert main([*REPLICA, "--ttft", "100", "--output-len", "1"]) == 0
    assert "nan" not in capsys.readouterr().out


def test_a_published_model_that_says_nothing_does_not_take_the_answer_away(capsys):
    words = ["--gamma", "0", "--delta", "0", "--ttft", "100", "--output-len", "1"]
    data = sized(capsys, *words)
    assert data["max_rate_per_s"]["value"] > 0
    assert data["published_models"]["4-parameter"]["ttft_ms"] is None
    assert "takes no time" in data["published_models"]["4-parameter"]["why_not"]
    assert main([*REPLICA, *words]) == 0
    assert "takes no time" in capsys.readouterr().out


@pytest.mark.parametrize("alpha", ["NaN", "{}", "-1", "null"])
def test_a_file_without_a_usable_alpha_is_named_in_one_line(alpha, tmp_path, capsys):
    file = tmp_path / "parameters.json"
    file.write_text(f'{{"parameters": {{"alpha": {{"value": {alpha}}}, "beta": {{"value": 0.1}}}}}}')
    assert main(["size", str(file), "--max-num-seqs", "8", "--tpot", "9"]) == 2
    error = capsys.readouterr().err
    assert "parameters.json" in error
    assert error.count("\n") == 1
