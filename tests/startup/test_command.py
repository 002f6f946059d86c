"""A server started as a child: measured from process start to first token, and ended whatever happens."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import vllmperf as vp
from vllmperf.cli import main
from vllmperf.errors import TargetError, UsageError
from vllmperf.starts.live import caches
from vllmperf.starts.result import Start

SERVER = Path(__file__).with_name("fake_server.py")


def command(port: int, *more: str) -> str:
    return shlex.join([sys.executable, str(SERVER), "--port", str(port), *more])


def parts_ns(start: Start) -> int:
    return sum(p.end_ns - p.start_ns for p in start.phases if p.critical and p.start_ns and p.end_ns)


def is_gone(pid: int) -> bool:
    """Whether a process ended; one that only waits to be reaped has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_gone(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while not is_gone(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_gone(pid)


def test_a_start_is_measured_from_process_start_to_first_token(port: int) -> None:
    before = time.time_ns()
    (start,) = vp.startup(command(port))
    assert start.reached
    assert (start.name, start.origin, start.end) == ("start 1", "process start", "first token")
    assert before - 10**9 < start.origin_ns < start.end_ns < time.time_ns() + 10**9
    assert start.total_s >= 4 * 0.05
    assert parts_ns(start) == start.end_ns - start.origin_ns
    assert {"imports", "weights_load", "ready", "first_token"} <= {p.name for p in start.phases}
    assert start.facts["url"] == f"http://127.0.0.1:{port}"


def test_phases_hold_the_sleeps_of_the_child(port: int, tmp_path: Path) -> None:
    """The child sleeps when the line before was stamped, however busy the machine is."""
    words = command(port, "--step", "0.3", "--read-into", str(tmp_path / "start-1-log.txt"))
    (start,) = vp.startup(words, output=tmp_path)
    found = {p.name: p.duration_s for p in start.phases}
    assert found["imports"] >= 0.3
    assert found["weights_load"] >= 0.3
    assert found["first_token"] >= 0.29  # the event without choices is no token


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.7.3", "0.11", "0.28"])
@pytest.mark.parametrize("port_is", ["open", "closed"])
def test_a_simulators_chosen_times_are_found_again(port: int, version: str, port_is: str) -> None:
    chosen = {"weights_load": 0.4, "compile": 0.3, "graph_capture": 1.0, "frontend": 0.2}
    settings = ",".join(f"{name}={seconds}" for name, seconds in chosen.items())
    words = [sys.executable, "-m", "vllmperf", "sim", "--port", str(port), "--startup-log", "-"]
    words += ["--startup-version", version, "--startup", f"engine=V1,imports=0.3,port={port_is},{settings}"]
    (start,) = vp.startup(words, sleep_wake=1)
    assert start.reached
    assert start.end == "first token"
    found = {p.name: p.duration_s for p in start.phases if p.critical}
    assert found["imports"] >= 0.3
    assert {n: s for n, s in chosen.items() if found[n] < s / 2} == {}, found  # a line may be read late
    assert start.facts["sleep_1_log_s"] is not None
    assert start.facts["wake_1_s"] >= start.facts["wake_1_log_s"] - 0.05
    assert parts_ns(start) == start.end_ns - start.origin_ns


def test_repeated_starts_are_numbered(port: int) -> None:
    found = vp.startup(command(port), repeat=2)
    assert [start.name for start in found] == ["start 1", "start 2"]
    assert found[0].end_ns < found[1].origin_ns


def test_cold_starts_find_empty_caches_and_warm_ones_the_last_cold_ones(port: int, tmp_path: Path) -> None:
    found = vp.startup(command(port), repeat=2, cold=True, warm=True, cache_dir=tmp_path)
    assert [start.group for start in found] == ["cold", "cold", "warm", "warm"]
    counts = sorted(len(path.read_text()) for path in tmp_path.rglob("starts"))
    assert counts == [1, 3]


def test_warm_alone_fills_the_caches_with_a_start_that_is_not_counted(port: int, tmp_path: Path) -> None:
    found = vp.startup(command(port), cold=False, warm=True, cache_dir=tmp_path)
    assert [start.name for start in found] == ["warm 1"]
    assert [len(path.read_text()) for path in tmp_path.rglob("starts")] == [2]


def test_weights_stay_where_they_are_while_caches_move() -> None:
    moved = caches.variables(Path("/new"), {"HOME": "/home/me"})
    assert moved["HF_HOME"] == "/home/me/.cache/huggingface"
    assert moved["XDG_CACHE_HOME"] == "/new/xdg"
    assert caches.variables(Path("/new"), {"XDG_CACHE_HOME": "/c"})["HF_HOME"] == "/c/huggingface"
    assert caches.variables(Path("/new"), {"HF_HOME": "/hub"})["HF_HOME"] == "/hub"


def test_a_child_that_dies_early_is_a_failure_with_its_last_lines(port: int) -> None:
    found = vp.startup(command(port, "--fail"), repeat=3)
    assert len(found) == 1
    assert not found[0].reached
    assert found[0].failure is not None
    assert "exit code 3" in found[0].evidence[0]
    assert any("No available memory for the cache blocks" in line for line in found[0].evidence)


@pytest.mark.slow
def test_a_start_that_takes_too_long_is_a_failure_and_the_child_is_ended(port: int, tmp_path: Path) -> None:
    worker = tmp_path / "pid"
    (start,) = vp.startup(command(port, "--hang", "--grandchild", str(worker)), timeout=5)
    assert start.failure is not None
    assert "not ready within 5 s" in start.failure.text
    assert wait_gone(int(worker.read_text()))


def test_what_the_child_started_ends_with_it(port: int, tmp_path: Path) -> None:
    worker = tmp_path / "pid"
    (start,) = vp.startup(command(port, "--stubborn", "--grandchild", str(worker)), stop_timeout=0.3)
    assert start.reached
    assert wait_gone(int(worker.read_text()))
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_an_interrupt_ends_the_child_and_keeps_what_was_finished(port: int, tmp_path: Path) -> None:
    worker = tmp_path / "pid"

    def interrupt_the_second(found: Sequence[Start]) -> None:
        if len(found) > 1:
            signal.raise_signal(signal.SIGINT)

    words = command(port, "--step", "0.3", "--grandchild", str(worker))
    found = vp.startup(words, repeat=3, progress=interrupt_the_second)
    assert found.interrupted
    assert [start.name for start in found if start.reached] == ["start 1"]
    assert wait_gone(int(worker.read_text()))


def test_a_port_that_is_taken_is_refused_before_the_start(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)), pytest.raises(TargetError, match="listens on"):
        vp.startup(command(port))


def test_a_model_without_completions_ends_at_ready_with_a_note(port: int) -> None:
    (start,) = vp.startup(command(port, "--embedding"))
    assert start.reached
    assert start.end == "ready"
    assert any("no first token came: HTTP status 404" in note for note in start.notes)


def test_the_log_is_written_with_stamps_while_it_is_read(port: int, tmp_path: Path) -> None:
    (start,) = vp.startup(command(port), output=tmp_path / "made", log_timestamps=True)
    assert start.log_path == str(tmp_path / "made" / "start-1-log.txt")
    first = Path(start.log_path).read_text().splitlines()[0]
    assert first[:2] == "20"
    assert first[30:].startswith(" INFO")
    assert first.endswith("Automatically detected platform cuda.")


def test_progress_is_told_while_it_starts(port: int) -> None:
    told: list[Start] = []
    vp.startup(command(port, "--step", "0.3"), progress=lambda found: told.append(found[-1]))
    assert told
    assert not any(start.reached or start.failure for start in told)
    assert all(start.end_ns is None and start.origin_ns is not None for start in told)
    assert "imports" in {phase.name for phase in told[-1].phases}


def test_variables_in_front_of_the_command_are_its_environment(port: int, tmp_path: Path) -> None:
    vp.startup(f"VLLM_CACHE_ROOT={tmp_path}/here {command(port)}")
    assert (tmp_path / "here" / "starts").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [("", "holds no program"), ("no-such-program-at-all", "cannot run"), ("vllm 'serve", "split into words")],
)
def test_a_command_that_cannot_be_run_is_said_in_one_line(port: int, words: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        vp.startup(words and f"{words} --port {port}")


def test_the_environment_is_left_as_it_was(port: int) -> None:
    before = dict(os.environ)
    vp.startup(command(port), cold=True)
    assert dict(os.environ) == before


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The server's arguments for a certificate of 127.0.0.1 that nobody signed."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: no certificate can be made")
    folder = tmp_path_factory.mktemp("tls")
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    words = [*made.split(), "-keyout", str(folder / "k.pem"), "-out", str(folder / "c.pem")]
    subprocess.run(words, check=True, capture_output=True)
    return ["--ssl-certfile", str(folder / "c.pem"), "--ssl-keyfile", str(folder / "k.pem")]


def test_a_server_with_tls_is_measured_when_its_certificate_is_trusted_or_any_is(
    port: int, certificate: list[str]
) -> None:
    (trusted,) = vp.startup(command(port, *certificate), cacert=certificate[1])
    (insecure,) = vp.startup(command(port, *certificate), insecure=True)
    for start in (trusted, insecure):
        assert (start.end, start.facts["url"]) == ("first token", f"https://127.0.0.1:{port}")


def test_a_certificate_that_nobody_signed_ends_the_measurement_with_what_to_give(
    port: int, certificate: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["startup", "--command", command(port, *certificate), "--quiet"]) == 3
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "--cacert FILE trusts one, --insecure trusts any" in told


def test_a_file_without_certificates_is_refused_before_the_command_is_started(
    port: int, certificate: list[str], tmp_path: Path
) -> None:
    (tmp_path / "none.pem").write_text("none")
    words = f"VLLM_CACHE_ROOT={tmp_path}/here {command(port, *certificate)}"
    with pytest.raises(UsageError, match="holds no certificates"):
        vp.startup(words, cacert=str(tmp_path / "none.pem"))
    assert not (tmp_path / "here").exists()
