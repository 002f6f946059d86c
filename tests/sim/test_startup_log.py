"""The simulator's start-up logs: wording, layout, times, and the server behind them."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from wire import ask

from vllmperf.cli import main
from vllmperf.errors import UsageError
from vllmperf.sim import Server
from vllmperf.sim.startup_log import (
    DURATIONS,
    ENVELOPES,
    VERSIONS,
    Cycle,
    StartupScript,
    lines,
    parse_startup,
    plan,
    truth,
    write,
)
from vllmperf.starts.log.markers import find

START_NS = 1_776_000_000 * 10**9
QUICK = dict.fromkeys(DURATIONS, 0.01)
OTHERS = (
    "0.8.0",
    "0.8.2",
    "0.8.3",
    "0.9.2",
    "0.10.0",
    "0.10.1",
    "0.12.0",
    "0.13.0",
    "0.16.0",
    "0.22.0",
    "0.32.0",
)


def texts(script: StartupScript) -> list[str]:
    return write(script, START_NS).decode().splitlines()


def events(script: StartupScript) -> list[str]:
    found = (
        find(part, (line.logger,)) for line in lines(script) for part in line.text.strip("\r").split("\n")
    )
    return [hit[0].event for hit in found if hit]


def until(true: Callable[[], bool], within_s: float = 120) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def status(server: Server, path: str = "/health") -> int:
    return ask(server.port, "GET", path).status


# --- wording and layout


@pytest.mark.parametrize("version", [*VERSIONS, *OTHERS])
@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_every_release_tells_of_each_step_that_it_knows(version: str, cache: str) -> None:
    script = StartupScript(version=version, cache=cache, weights_download=0.6)
    told = events(script)
    assert told.index("engine_config") < told.index("load_start") < told.index("download")
    assert told.index("model_loaded") < told.index("engine_done") < told.index("ready")
    assert ("dynamo" in told) == (script.runner != "V0")
    assert ("compiled" in told) == (script.runner != "V0" and cache == "cold")
    assert ("cache_loaded" in told) == (script.runner != "V0" and cache == "warm")


def test_lines_begin_as_the_release_lets_them_begin() -> None:
    def begins(**settings: object) -> set[str]:
        heads = set()
        for text in texts(StartupScript(**settings)):
            heads.add(re.sub(r"\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text.split("]")[0].split(".py")[0]))
        return heads

    assert "(VllmWorkerProcess pid=14) INFO TIME worker" in begins(version="0.7.3", tp=2)
    assert "INFO TIME worker" in begins(version="0.7.3", tp=2)
    assert "(VllmWorker rank=1 pid=14) INFO TIME [backends" in begins(version="0.8.5", tp=2)
    assert "INFO TIME [core" in begins(version="0.8.5")
    assert "\x1b[1;36m(EngineCore_DP0 pid=12)\x1b[0;0m INFO TIME [core" in begins(version="0.11")
    assert "\x1b[1;36m(EngineCore_0 pid=12)\x1b[0;0m INFO TIME [core" in begins(version="0.10.1")
    assert "(EngineCore pid=12) INFO TIME [core" in begins(version="0.19")
    assert "(Worker_PP1_TP0 pid=15) INFO TIME [parallel_state" not in begins(version="0.19", tp=2, pp=2)
    assert "(Worker_PP0_TP0 pid=13) INFO TIME [backends" in begins(version="0.19", tp=2, pp=2)
    assert "(EngineCore_DP1 pid=14) INFO TIME [core" in begins(version="0.28", dp=2)
    assert "(Worker pid=13) INFO TIME [cpu_worker" in begins(version="0.28", platform="cpu")


@pytest.mark.parametrize(
    ("version", "bar", "uvicorn"), [("0.19", True, True), ("0.28", False, True), ("0.32.0", False, False)]
)
def test_bars_lost_their_prefix_in_0_28_and_uvicorn_later(version: str, bar: bool, uvicorn: bool) -> None:
    told = write(StartupScript(version=version), START_NS).decode().split("\n")
    ready = next(text for text in told if text.endswith("Application startup complete."))
    shards = next(text for text in told if "100% Completed" in text)
    assert ready.startswith("(APIServer pid=1) ") == uvicorn
    assert shards.startswith("(EngineCore pid=12) ") == bar


def test_a_message_of_several_lines_repeats_its_header_after_a_carriage_return() -> None:
    data = write(StartupScript(version="0.7.3"), START_NS)
    assert re.search(
        rb"(INFO \S+ \S+ worker.py:\d+\] )Memory profiling takes 0.10 seconds\r\n\1the current", data
    )


def test_a_progress_bar_of_the_capture_is_one_line_drawn_over_itself() -> None:
    bars = [line for line in write(StartupScript(), START_NS).split(b"\n") if b"Capturing" in line]
    assert len(bars) == 1
    assert bars[0].count(b"\r") == 4


def test_stamps_are_in_the_zone_that_is_asked_for() -> None:
    script = StartupScript(version="0.8.5", imports=0)
    assert write(script, START_NS)[:19] == b"INFO 04-12 13:20:00"
    assert write(script, START_NS, tz="Asia/Tokyo")[:19] == b"INFO 04-12 22:20:00"


def test_vllms_messages_are_objects_with_a_json_formatter_and_the_others_stay_plain() -> None:
    told = texts(StartupScript(version="0.19", json=True))
    took = next(text for text in told if "Loading weights took" in text)
    assert json.loads(took.partition(") ")[2])["message"] == "Loading weights took 0.30 seconds"
    assert "(APIServer pid=1) INFO:     Application startup complete." in told


def test_every_envelope_holds_the_same_lines() -> None:
    script = StartupScript(tp=2, cycles=(Cycle("sleep", 1, 2),))
    bare = write(script, START_NS).decode().split("\n")[:-1]
    for name in ENVELOPES:
        wrapped = write(script, START_NS, envelope=name).decode().split("\n")[:-1]
        assert len(wrapped) == len(bare), name
        for inner, outer in zip(bare, wrapped, strict=True):
            assert outer.endswith(inner) or inner == _inside(outer), name


def _inside(outer: str) -> str:
    entry = json.loads(outer)
    text: str = entry.get("log") or entry.get("line") or entry.get("textPayload") or ""
    return text.removesuffix("\n")


# --- times


@pytest.mark.parametrize("version", [*VERSIONS, *OTHERS])
def test_what_is_printed_is_what_passes(version: str) -> None:
    script = StartupScript(
        version=version,
        weights_download=0.75,
        weights_load=3.25,
        model_finish=0.5,
        dynamo=1.5,
        compile=7.25,
        spread=0,
    )
    at = {}
    for line in lines(script):
        for part in line.text.split("\n"):
            hit = find(part.strip("\r"), (line.logger,))
            if hit and "seconds" in hit[1]:
                at[hit[0].event] = (line.at_ns / 1e9, float(hit[1]["seconds"]))
    began = truth(script).phases["worker_init"].end_ns / 1e9
    assert at["download"] == (pytest.approx(began + 0.75), 0.75)
    if "weights_took" in at:
        assert at["weights_took"] == (pytest.approx(began + 4), 3.25)
        assert at["model_loaded"] == (pytest.approx(began + 4.5), pytest.approx(4.5))
    if "compiled" in at:
        assert at["compiled"] == (pytest.approx(began + 4.5 + 8.75), 7.25)
        assert at["compile_total"][1] == 8.75
    assert at["engine_done"][1] == pytest.approx(at["engine_done"][0] - began - 4.5, abs=0.01)


def test_the_total_of_a_warm_compile_holds_the_load_of_the_cache_from_0_11_1_on() -> None:
    totals = {
        v: truth(StartupScript(version=v, cache="warm", dynamo=2, compile=3)).reported
        for v in ("0.11", "0.12.0")
    }
    assert totals["0.11"]["torch_compile_total_s"] == 2
    assert totals["0.12.0"]["torch_compile_total_s"] == 5


def test_all_ranks_speak_up_to_0_11_0_and_then_one_of_each_engine() -> None:
    assert len(truth(StartupScript(version="0.11", tp=4)).per_rank["weights_load_s"]) == 4
    assert len(truth(StartupScript(version="0.12.0", tp=4)).per_rank["weights_load_s"]) == 1
    assert len(truth(StartupScript(version="0.19", tp=2, dp=2)).per_rank["weights_load_s"]) == 2


def test_ranks_differ_by_the_spread_and_the_slowest_is_the_reported_one() -> None:
    known = truth(StartupScript(version="0.8.5", tp=3, weights_load=10, spread=0.2))
    assert sorted(known.per_rank["weights_load_s"].values()) == [8, 9, 10]
    assert known.reported["weights_load_s"] == 10


def test_time_scale_makes_everything_shorter() -> None:
    whole, tenth = (
        parse_startup("weights_load=3,sleep=2"),
        parse_startup("weights_load=3,sleep=2,time_scale=0.1"),
    )
    assert tenth.weights_load == pytest.approx(0.3)
    assert tenth.sleep == pytest.approx(0.2)
    assert plan(tenth).end_ns == pytest.approx(plan(whole).end_ns / 10, abs=100)


# --- what does not exist


@pytest.mark.parametrize(
    "words",
    [
        "weights_load",
        "weight_load=3",
        "weights_load=-1",
        "weights_load=fast",
        "tp=0",
        "cache=hot",
        "version=0.6.4",
        "version=latest",
        "fail=scheduling",
        "fail=graph_capture,eager=1",
        "version=0.8.5,dp=2",
        "version=0.19,engine=V0",
        "version=0.19,engine=V2",
        "version=0.7.3,platform=cpu",
        "spread=1",
        "port=ajar",
    ],
)
def test_what_vllm_does_not_do_is_refused_in_one_line(words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_startup(words)
    assert "\n" not in str(caught.value)


def test_settings_are_said_once() -> None:
    with pytest.raises(UsageError, match="model"):
        Server(startup="", model="other")


# --- failures


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "phase", ["imports", "config", "worker_init", "weights_load", "kv_cache", "frontend"]
)
def test_a_start_that_fails_ends_with_its_cause(version: str, phase: str) -> None:
    script = StartupScript(version=version, fail=phase, tp=2)
    known, told = truth(script), texts(script)
    assert known.failed == phase
    assert known.ready_ns is None
    assert known.cause is not None
    assert any(text.endswith(known.cause) for text in told)
    assert not any("startup complete" in text for text in told)


def test_a_start_that_is_killed_says_nothing_more() -> None:
    whole, killed = texts(StartupScript()), texts(StartupScript(stop="compile"))
    assert killed == whole[: len(killed)]
    assert len(killed) < len(whole)


# --- the server


def test_requests_get_503_until_the_log_says_ready() -> None:
    log = io.BytesIO()
    with Server("weights_load=0.2,time_scale=0.5", log) as server:
        assert status(server) == status(server, "/v1/models") == 503
        until(lambda: status(server) == 200)
        assert b"Application startup complete." in log.getvalue()


def test_a_closed_port_opens_when_the_server_is_ready() -> None:
    with Server(StartupScript(**QUICK, port="closed")) as server:
        assert server.port == 0
        until(lambda: server.port != 0)
        until(lambda: status(server) == 200)


def test_a_port_that_is_taken_when_it_opens_ends_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    with Server() as other, Server(StartupScript(**QUICK, port="closed"), port=other.port) as server:
        until(lambda: server.exit_code is not None)
        assert server.exit_code == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_a_log_that_nobody_reads_any_more_ends_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    with Server(StartupScript(**QUICK), Full()) as server:
        until(lambda: server.exit_code is not None)
        assert server.exit_code == 1
        assert "No space left on device" in capsys.readouterr().err


class Clocked(io.BytesIO):
    """Notes when each write came."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[int, bytes]] = []

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.writes.append((time.monotonic_ns(), data))
        return super().write(data)


def test_no_line_comes_before_it_is_due() -> None:
    script, log = StartupScript(**QUICK), Clocked()
    before = time.monotonic_ns()
    with Server(script, log) as server:
        until(lambda: status(server) == 200)
    due = [line.at_ns for line in lines(script) for _ in line.text.split("\n")]
    assert due[-1] == 150_000_000
    for (at, data), at_ns in zip(log.writes, due, strict=False):
        assert at >= before + at_ns, data
    assert b"startup complete" in log.writes[len(due) - 1][1]


def test_a_failed_start_stops_with_1_and_a_killed_one_with_137() -> None:
    for words, code in (("fail=weights_load", 1), ("stop=weights_load", 137)):
        with Server(f"{words},time_scale=0.05") as server:
            until(lambda server=server: server.exit_code is not None)
            assert server.exit_code == code
            assert status(server) == 503


def test_sleeping_and_waking_up_are_written_when_they_end() -> None:
    log = io.BytesIO()
    with Server(StartupScript(**QUICK, sleep=0.05, wake=0.02), log) as server:
        until(lambda: status(server) == 200)
        assert ask(server.port, "POST", "/sleep").status == 200
        until(lambda: b"It took 0.050000 seconds to fall asleep." in log.getvalue())
        assert ask(server.port, "POST", "/wake_up").status == 200
        until(lambda: b"It took 0.020000 seconds to wake up tags" in log.getvalue())
        assert b'"POST /sleep HTTP/1.1" 200 OK' in log.getvalue()


def test_a_server_can_be_started_twice_and_writes_two_starts(tmp_path) -> None:
    server = Server(StartupScript(**QUICK), str(tmp_path / "log"))
    for _ in range(2):
        with server:
            until(lambda: server.port != 0 and status(server) == 200)
        assert (tmp_path / "log").read_bytes().count(b"Application startup complete") == 1


def test_a_log_that_cannot_be_written_is_one_line(tmp_path) -> None:
    with pytest.raises(UsageError, match="cannot write the start-up log"):
        Server("", str(tmp_path / "no" / "log")).start()


# --- the command


def test_the_command_writes_line_by_line_to_a_pipe_and_ends_on_a_signal() -> None:
    words = ["--port", "0", "--startup-log", "-", "--startup-version", "0.11", "--startup", "weights_load=60"]
    with subprocess.Popen(
        [sys.executable, "-m", "vllmperf", "sim", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        while b"Starting to load model" not in process.stdout.readline():
            pass  # it comes though the start goes on for a minute
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert b"Automatically detected platform cuda." in first
        assert process.stderr is not None
        assert b"listening on http://" in process.stderr.read()


def test_the_command_fails_with_the_start(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    words = ["sim", "--port", "0", "--startup-log", str(log), "--startup", "fail=model_load,time_scale=0.02"]
    assert main(words) == 1
    assert "torch.OutOfMemoryError" in log.read_text()


def test_a_wrong_start_up_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--startup", "speed=3"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_settings_of_a_start_may_stand_apart_or_behind_commas():
    from vllmperf.cli import parser
    from vllmperf.cli.sim import startup_of
    from vllmperf.sim.config import checked

    def script(*words: str):
        args = parser("sim").parse_args(["sim", "--startup-log", "-", *words])
        return startup_of(args, checked({}))

    joined = script("--startup", "weights_load=2,compile=3,tp=2")
    assert joined == script("--startup", "weights_load=2", "compile=3,tp=2")
    assert joined == script("--startup", "weights_load=2", "--startup", "compile=3", "tp=2")
    assert (joined.weights_load, joined.compile, joined.tp) == (2, 3, 2)
