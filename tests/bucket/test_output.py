"""--output DEST of the commands: which files a result has, where they go, and what a bad destination says before any work."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from s3_server import BUCKET, LIMIT_S

from vllmperf.cli import COMMANDS, main, outputs
from vllmperf.formats import runs

BENCH = ["bench", "--sim", "ttft_ms=2,itl_ms=1", "--num-prompts", "8", "--max-concurrency", "2", "--input-len", "4",
         "--output-len", "4", "--no-progress", "--label", "nightly"]  # fmt: skip
SIZE = [
    "size",
    "--alpha",
    "7",
    "--beta",
    "0.03",
    "--gamma",
    "10",
    "--delta",
    "0.01",
    "--max-num-seqs",
    "8",
    "--ttft",
    "500",
]
LOG = """\
INFO 06-21 08:00:00 [api_server.py:1839] vLLM API server version 0.11.0
INFO 06-21 08:00:10 [core.py:77] Initializing a V1 LLM engine (v0.11.0) with config: model='m'
INFO:     Application startup complete.
"""
NO_RESULT = {"guidellm", "sim", "kube", "shims", "serve", "aggregate"}
"""serve and aggregate have folders and buckets of their own: --data, BENCHMARK_RESULTS_BUCKET."""
TRUSTED_OR_NOT = (0, 1)  # a busy machine may not be trusted


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def suffixes(folder: Path) -> list[str]:
    return sorted(Path(name).suffix for name in names(folder))


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.vllmperf"
    assert main([*BENCH, "--record", str(path)]) in TRUSTED_OR_NOT
    return path


def test_every_command_that_makes_a_result_has_an_output():
    assert set(COMMANDS) - NO_RESULT <= set(outputs.SETS)


def test_a_run_has_vllms_json_its_run_file_and_its_page_under_one_name(tmp_path, capsys):
    assert main([*BENCH, "--output", str(tmp_path / "out")]) in TRUSTED_OR_NOT
    found = names(tmp_path / "out")
    stem = found[0].rsplit(".", 1)[0]
    assert stem.startswith("nightly-infqps-concurrency2-sim-2")
    assert found == [f"{stem}.html", f"{stem}.json", f"{stem}.vllmperf"]
    assert json.loads((tmp_path / "out" / f"{stem}.json").read_text())["completed"] == 8
    assert runs.read(tmp_path / "out" / f"{stem}.vllmperf").summary["requests"]["completed"] == 8
    said = capsys.readouterr()
    assert f"the result is in {tmp_path / 'out'}: {stem}.json" in said.err
    assert "Latency, ms" in said.out


def test_llm_d_files_by_scenario_model_hardware_and_run(tmp_path):
    words = ["--layout", "llm-d", "--metadata", "hardware=H100-x8"]
    assert main([*BENCH, *words, "--output", str(tmp_path)]) in TRUSTED_OR_NOT
    found = names(tmp_path)
    run = found[0].split("/")[3]
    assert found == [f"nightly/sim/H100-x8/{run}/{run}{suffix}" for suffix in (".html", ".json", ".vllmperf")]
    assert [path.name for path in tmp_path.iterdir()] == ["nightly"]


def test_repeats_have_a_run_file_each_and_one_json(tmp_path):
    assert main([*BENCH, "--repeat", "2", "--output", str(tmp_path)]) in TRUSTED_OR_NOT
    assert suffixes(tmp_path) == [".json", ".vllmperf", ".vllmperf"]


def test_files_that_the_user_named_stay_and_are_copied(tmp_path):
    words = ["--record", str(tmp_path / "mine.vllmperf"), "--html", str(tmp_path / "mine.html")]
    assert main([*BENCH, *words, "--output", str(tmp_path / "out")]) in TRUSTED_OR_NOT
    assert {"mine.html", "mine.vllmperf"} < set(names(tmp_path))
    assert suffixes(tmp_path / "out") == [".html", ".json", ".vllmperf"]
    assert len({Path(name).stem for name in names(tmp_path / "out")}) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["report", "RUN"], [".csv", ".html", ".json"]),
        (["compare", "RUN", "RUN"], [".json"]),
        (["reconcile", "RUN", "RUN"], [".json"]),
        (["check", "RUN"], [".json"]),
        (["explain", "RUN"], [".json"]),
        (["parse-log", "LOG"], [".csv", ".html", ".json"]),
        (SIZE, [".json", ".png"]),
    ],
)
def test_each_command_writes_its_set_beside_its_table(words, expected, run_file, tmp_path, capsys):
    if ".png" in expected:
        pytest.importorskip("matplotlib")
    (tmp_path / "log").write_text(LOG)
    words = [{"RUN": str(run_file), "LOG": str(tmp_path / "log")}.get(word, word) for word in words]
    assert main([*words, "--output", str(tmp_path / "out")]) in TRUSTED_OR_NOT
    assert suffixes(tmp_path / "out") == expected
    assert all(name.startswith(f"{words[0]}-2") for name in names(tmp_path / "out"))
    assert capsys.readouterr().out.strip()


def test_two_results_lie_side_by_side(run_file, tmp_path):
    for _ in range(2):
        main([*BENCH, "--output", str(tmp_path)])
    assert len(names(tmp_path)) == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--output", "s3://"], "'s3://' is no place in a bucket: write s3://BUCKET/PREFIX"),
        (["--output", "s3://results/../x"], "no '.' or '..'"),
        (["--output", "gs://results"], "--output gs://…: give a folder or s3://BUCKET/PREFIX"),
        (
            ["--output", "/dev/null/x"],
            "--output /dev/null/x: the folder /dev/null/x cannot be made: Not a directory",
        ),
        (["--output", "out", "--json", "-"], ""),
        (["--output", "out", "--html", "-"], "--output writes what --html would print"),
        (["--output", "out", "--result-dir", "other"], "leave --result-dir out"),
        (["--output", "out", "--output-endpoint", "http://x:1"], "--output-endpoint is of a bucket"),
        (["--output", "s3://results", "--output-endpoint", "x:1"], "the endpoint 'x:1' is no URL"),
    ],
)
def test_a_bad_destination_is_one_line_before_the_run(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = main([*BENCH, *words])
    lines = capsys.readouterr().err.splitlines()
    if said:
        assert (code, len(lines)) == (2, 1)
        assert said in lines[0]
        assert not (tmp_path / "out").exists()
    else:
        assert code in TRUSTED_OR_NOT  # the summary on stdout is no file of a run's set


def test_without_boto3_a_bucket_is_one_line_that_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert main([*BENCH, "--output", "s3://results/x"]) == 2
    assert "pip install 'vllmperf[s3]'" in capsys.readouterr().err


def test_a_command_that_fails_leaves_no_folder(tmp_path):
    assert main(["report", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 2
    assert list(tmp_path.iterdir()) == []


# ---- a real S3 server ----


def to_bucket(server, prefix="team"):
    return ["--output", f"s3://{BUCKET}/{prefix}", "--output-endpoint", server.endpoint]


def waiting_folders(tmp_path):
    root = tmp_path / "outbox"
    return sorted(path.name for path in root.iterdir()) if root.is_dir() else []


def test_a_result_goes_to_the_bucket_and_no_local_copy_stays(tmp_path, server, capsys):
    assert main([*BENCH, *to_bucket(server)]) in TRUSTED_OR_NOT
    keys = list(server.objects())
    stem = keys[0].rsplit(".", 1)[0]
    assert stem.startswith("team/nightly-infqps-concurrency2-sim-2")
    assert keys == [f"{stem}.html", f"{stem}.json", f"{stem}.vllmperf"]
    assert "vllmperf: uploaded 3 files (" in capsys.readouterr().err
    assert waiting_folders(tmp_path) == []


def test_llm_d_in_a_bucket(server):
    assert main([*BENCH, "--layout", "llm-d", *to_bucket(server, "default")]) in TRUSTED_OR_NOT
    assert {key.rsplit("/", 2)[0] for key in server.objects()} == {"default/nightly/sim/missing"}


def test_a_result_waits_while_the_server_is_down_and_the_next_command_uploads_it(
    tmp_path, server, run_file, capsys
):
    server.stop()
    main(["check", str(run_file), *to_bucket(server)])
    first = capsys.readouterr().err.splitlines()
    assert first[0] == (
        f"vllmperf: {server.endpoint} does not answer; the result waits in {tmp_path / 'outbox'} until it does"
    )
    assert first[-1].startswith(f"vllmperf: 1 file for s3://{BUCKET}/team/check-")
    assert first[-1].endswith(
        f"does not answer; the next command with --output s3://{BUCKET}/team uploads them"
    )
    assert len(waiting_folders(tmp_path)) == 1
    server.start()
    # another command: the same one within the same second has the same name and content, and nothing is sent twice
    assert main(["explain", str(run_file), *to_bucket(server)]) in TRUSTED_OR_NOT
    second = capsys.readouterr().err
    assert "of an earlier command: uploaded 1 file" in second
    assert len(server.objects()) == 2
    assert waiting_folders(tmp_path) == []


def test_no_bucket_ends_before_the_run(tmp_path, server, capsys):
    assert main([*BENCH, "--output", "s3://nobodys/x", "--output-endpoint", server.endpoint]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"vllmperf: error: there is no bucket nobodys at {server.endpoint}: make it, or name another"
    ]
    assert waiting_folders(tmp_path) == []


def test_the_run_file_of_a_command_that_was_killed_is_uploaded_by_the_next_one(tmp_path, server, run_file):
    long = ["--num-prompts", "100000", "--max-concurrency", "4"]
    process = subprocess.Popen([sys.executable, "-m", "vllmperf", *BENCH, *long, *to_bucket(server)])
    end = time.monotonic() + LIMIT_S
    while not _n_requests(tmp_path / "outbox"):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    main(["check", str(run_file), *to_bucket(server)])
    assert [key for key in server.objects() if key.endswith(".vllmperf")] == []  # it is being written
    process.send_signal(signal.SIGKILL)
    process.wait()
    main(["check", str(run_file), *to_bucket(server)])
    (key,) = [key for key in server.objects() if key.endswith(".vllmperf")]
    (tmp_path / "back").write_bytes(server.objects()[key])
    assert runs.read(tmp_path / "back").summary["requests"]["completed"] > 0
    assert waiting_folders(tmp_path) == []


def _n_requests(outbox: Path) -> int:
    for path in outbox.rglob("*.vllmperf"):
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                return db.execute("select count(*) from requests").fetchone()[0]
        except sqlite3.Error:
            return 0
    return 0


def test_an_upload_that_is_interrupted_waits_and_the_exit_code_stays(tmp_path, server, proxy, run_file):
    from faulty_proxy import TRICKLE

    proxy.rule = lambda request: TRICKLE if request.startswith("PUT") else "pass"
    large = tmp_path / "large.vllmperf"
    large.write_bytes(run_file.read_bytes())
    words = ["report", str(large), "--output", f"s3://{BUCKET}/x", "--output-endpoint", proxy.endpoint]
    process = subprocess.Popen(
        [sys.executable, "-m", "vllmperf", *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    end = time.monotonic() + LIMIT_S
    while not any(one.startswith("PUT") for one in proxy.seen):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=LIMIT_S)[1].decode()
    assert process.returncode == 0
    assert " for s3://" in said.splitlines()[-1]
    assert len(waiting_folders(tmp_path)) == 1


def test_a_sweep_keeps_its_folder_and_all_of_it_is_copied(tmp_path, server, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "routers.yaml").write_text(
        "plan: {num_prompts: 8, max_concurrency: 2, input_len: 4, output_len: 4}\nrepeat: 1\n"
        "setups: [{name: one, simulator: {ttft_ms: 2, itl_ms: 1}}]\n"
    )
    assert main(["sweep", "routers.yaml", *to_bucket(server)]) in TRUSTED_OR_NOT
    keys = list(server.objects())
    stem = next(key.removesuffix(".json") for key in keys if key.count("/") == 1 and key.endswith(".json"))
    inside = ["events.jsonl", "one--1.vllmperf", "sweep.json"]
    assert keys == [f"{stem}.csv", f"{stem}.json", *(f"{stem}/routers/{name}" for name in inside)]
    assert (tmp_path / "routers" / "sweep.json").exists()
    assert waiting_folders(tmp_path) == []


def test_a_start_has_its_old_files_and_the_report_in_the_bucket(tmp_path, server):
    script = "import time; print('INFO:     Application startup complete.', flush=True); time.sleep(60)"
    words = [
        "startup",
        "--command",
        f'{sys.executable} -c "{script}"',
        "--no-first-token",
        "--timeout",
        "5s",
        "--quiet",
    ]
    main([*words, *to_bucket(server)])
    endings = {Path(key).suffix for key in server.objects()}
    assert {".json", ".html", ".csv", ".txt"} <= endings
