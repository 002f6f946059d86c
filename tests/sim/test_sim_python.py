"""The simulated server from Python and from the command line."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from wire import ask, complete

import vllmperf.sim
from vllmperf._sim import FAULTS
from vllmperf._sim import Server as Core
from vllmperf.errors import UsageError
from vllmperf.sim import SETTINGS, Server
from vllmperf.sim.config import checked


def test_inside_a_with_it_answers_at_its_url() -> None:
    with Server(ttft_ms=0, itl_ms=0) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert complete(server.port).status == 200
    assert server.port == 0
    assert server.stats["finished"] == 1


def test_it_can_be_started_and_stopped_again() -> None:
    server = Server(ttft_ms=0, itl_ms=0)
    for _ in range(3):
        server.start()
        assert complete(server.port).status == 200
        with pytest.raises(UsageError, match="running already"):
            server.start()
        server.stop()
        server.stop()
    assert server.stats["requests"] == 1


def test_several_servers_run_beside_each_other() -> None:
    with Server(model="a") as a, Server(model="b") as b:
        names = [ask(s.port, "GET", "/v1/models").json["data"][0]["id"] for s in (a, b)]
    assert names == ["a", "b"]


def test_threads_may_ask_it_at_once(fast: Server) -> None:
    threads = [threading.Thread(target=complete, args=(fast.port,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fast.stats["tokens"] == 20 * 6


def test_ipv6_has_brackets_in_its_url() -> None:
    try:
        server = Server(host="::1").start()
    except UsageError as error:
        pytest.skip(f"no IPv6 here: {error}")
    assert server.url == f"http://[::1]:{server.port}"
    server.stop()


def test_a_server_that_is_forgotten_is_ended() -> None:
    server = Server(ttft_ms=0).start()
    port = server.port
    del server
    gc.collect()
    with pytest.raises(ConnectionRefusedError):
        ask(port, "GET", "/health")


def test_after_fork_the_child_leaves_the_server_alone(fast: Server) -> None:
    child = os.fork()
    if child == 0:
        fast.stop()
        try:
            fast._server.start()
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert complete(fast.port).status == 200


@pytest.mark.parametrize(
    "settings",
    [
        {"nonsense": 1},
        {"ttft_ms": -1},
        {"ttft_ms": "normal:1"},
        {"ttft_ms": "lognormal:0:1"},
        {"itl_ms": "gamma:1:2"},
        {"itl_ms": None},
        {"port": 70000},
        {"port": "http"},
        {"tokens_per_chunk": 0},
        {"tokens_per_chunk": 1.5},
        {"eos_mean": "many"},
        {"close_connections": "perhaps"},
        {"model": 'a"b'},
        {"faults": [3]},
        {"host": "no.such.host.invalid"},
    ],
)
def test_wrong_settings_are_one_clear_line(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        Server(**settings).start()
    assert "\n" not in str(caught.value)


def test_settings_may_be_texts_as_on_a_command_line() -> None:
    settings = Server(ttft_ms="5", seed="3", eos_mean="2.5", close_connections="yes").settings
    assert (settings["ttft_ms"], settings["seed"], settings["eos_mean"]) == ("5", 3, 2.5)
    assert settings["close_connections"] is True


def test_the_core_wants_all_settings_of_the_right_type() -> None:
    with pytest.raises(ValueError, match="missing setting: host"):
        Core({})
    for name in checked({}):
        wrong = {} if isinstance(checked({})[name], bool) else {**checked({}), name: object()}
        with pytest.raises((TypeError, ValueError)):
            Core(wrong)


def test_every_fault_and_setting_is_described() -> None:
    assert all(meaning for _, meaning, _, _ in FAULTS)
    assert all(setting.help for setting in SETTINGS)
    assert vllmperf.sim.Server is Server


# ---- the command ----


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vllmperf", "sim", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, stop: signal.Signals) -> None:
    truth = tmp_path / "truth"
    process = command("--port", "0", "--ttft-ms", "5", "--itl_ms", "normal:1:0.1", "--truth", str(truth))
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line.startswith("listening on http://127.0.0.1:")
    assert line.endswith("(model sim, TTFT 5 ms, ITL normal:1:0.1 ms)")
    port = int(line.split()[2].rpartition(":")[2])
    assert len(complete(port).tokens) == 6
    process.send_signal(stop)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "", "")
    assert json.loads(truth.read_text())["outcome"] == "finished"


def test_a_port_that_is_taken_is_one_line_and_exit_2(fast: Server) -> None:
    process = command("--port", str(fast.port))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1
    assert "Address already in use" in err


def test_a_wrong_fault_is_one_line_and_exit_2() -> None:
    process = command("--port", "0", "--fault", "nonsense")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1


def test_help_lists_the_faults() -> None:
    out, err = command("--help").communicate(timeout=120)
    assert err == ""
    assert all(name in out for name, _, _, _ in FAULTS)
    assert all(setting.flag in out for setting in SETTINGS if setting.name != "faults")


def test_threads_may_start_and_stop_it_at_once() -> None:
    server = Core(checked({"port": 0, "ttft_ms": 1, "itl_ms": 1}))
    told: list[str] = []

    def use() -> None:
        for _ in range(40):
            try:
                server.start()
            except OSError as error:
                told.append(str(error.strerror))
            server.stats(), server.port, server.running
            server.stop()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert set(told) <= {"the simulated server is running already"}
    assert not server.running
