"""`vllmperf startup` as a command: arguments, files, exit codes, signals."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_api import FakeApi

from vllmperf.cli import main

SERVER = Path(__file__).with_name("fake_server.py")


def command(port: int, *more: str) -> str:
    return shlex.join([sys.executable, str(SERVER), "--port", str(port), *more])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "nothing says what to measure: give --label, --deployment or --command"),
        ("-l a --deployment b", "--label and --deployment both choose pods"),
        ("--command x -n y", "--namespace is for pods of a cluster"),
        ("--command x -cfg y", "--config is for pods of a cluster"),
        ("--command x --watch", "--watch is for pods of a cluster"),
        ("-l a --cold", "--cold is for --command alone"),
        ("-l a --repeat 3", "--repeat needs --scale, --restart or --command"),
        ("-l a --scale 2", "--scale needs --deployment"),
        ("-l a --restart", "--restart needs --deployment"),
        ("--deployment d --scale 1 --restart", "--scale and --restart both cause starts"),
        ("--deployment d --scale 0", "--scale must be at least 1 (got 0)"),
        ("-l a --url http://x", "--url is for --probe-first-token"),
        ("--command x --html /no/such/folder/x.html", "there is no folder"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused_by_name(
    words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["startup", *words.split()]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


def test_a_command_gives_json_the_old_file_and_the_log(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "here"
    assert main(["startup", "--command", command(port), "-o", str(out), "-m", "org/tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    (row,) = (out / "org_tiny_vllm-server-startup-latency.txt").read_text().splitlines()
    assert row.split("\t")[0] == "start_1"
    assert len(row.split("\t")) == 10
    assert "Starting to load model" in (out / "start-1-log.txt").read_text()


def test_a_page_may_lie_in_the_folder_that_is_made_for_the_outputs(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "deep"
    page = str(out / "x.html")
    assert main(["startup", "--command", command(port), "-o", str(out), "--html", page, "--quiet"]) == 0
    assert (out / "x.html").read_text().startswith("<!")
    capsys.readouterr()


def test_a_file_where_the_output_s_folder_should_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    assert main(["startup", "--command", "true", "-o", str(tmp_path / "taken")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_layout_of_the_old_file_can_be_chosen(port: int, tmp_path: Path) -> None:
    assert main(["startup", "--command", command(port), "-o", str(tmp_path), "--layout", "A", "--quiet"]) == 0
    (path,) = tmp_path.glob("*latency.txt")
    assert len(path.read_text().split("\t")) == 6


def test_a_failed_start_is_exit_code_1_and_says_why(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["startup", "--command", command(port, "--fail")]) == 1
    shown = capsys.readouterr()
    assert "No available memory for the cache blocks" in shown.out
    assert "start 1 failed" in shown.err


def test_a_sleep_that_could_not_be_measured_is_exit_code_1(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(port, "--embedding")
    assert main(["startup", "--command", words, "--sleep-wake", "--no-first-token"]) == 1
    assert "VLLM_SERVER_DEV_MODE=1" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_child_and_what_came_is_written(
    port: int, tmp_path: Path, number: signal.Signals
) -> None:
    worker, log = tmp_path / "pid", tmp_path / "out" / "start-2-log.txt"
    words = [sys.executable, "-m", "vllmperf", "startup", "--repeat", "9", "-o", str(tmp_path / "out")]
    words += ["--command", command(port, "--grandchild", str(worker)), "--csv", str(tmp_path / "starts.csv")]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) == 130
    assert "start 1" in (tmp_path / "starts.csv").read_text()
    pid = int(worker.read_text())
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_pods_are_measured_with_the_documents_arguments(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = api.kubeconfig(tmp_path)
    api.add_pod("vllm-0", "vllm-test", {"environment": "test"})
    stamp = datetime.now(UTC).strftime("%m-%d %H:%M:%S")
    line = f"INFO {stamp} [__init__.py:239] Automatically detected platform cuda."
    api.append_log("vllm-0", line, namespace="vllm-test")
    api.append_log("vllm-0", "INFO:     Application startup complete.", namespace="vllm-test")
    api.set_condition("vllm-0", "Ready", namespace="vllm-test")
    words = f"-cfg {config} -ctx fake -l environment=test -c vllm -n vllm-test -m gpt2 -o {tmp_path}/data"
    assert main(["startup", *words.split()]) == 0
    row = (tmp_path / "data" / "gpt2_vllm-server-startup-latency.txt").read_text()
    assert row.startswith("vllm-0\t")
    assert (tmp_path / "data" / "vllm-0-log.txt").read_text().splitlines()[0] == line
    assert "vllm-0" in capsys.readouterr().out


def test_none_as_kubeconfig_means_the_environments(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
    assert main(["startup", "-cfg", "None", "-l", "environment=test"]) == 3
    assert "no pods match 'environment=test' in namespace default" in capsys.readouterr().err
    assert api.seen("GET /api/v1/namespaces/default/pods")


def test_the_import_of_the_command_is_light() -> None:
    code = "import sys, vllmperf.cli.startup, vllmperf.starts.live.pods; print(*sys.modules)"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert not {"kubernetes", "numpy", "rich"} & set(loaded.stdout.split())
