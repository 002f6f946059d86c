"""Sweeps against simulators: the points, the folder, what fails, what a killed sweep leaves, and what is shown."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vllmperf as vp
from vllmperf.cli import main
from vllmperf.errors import UsageError
from vllmperf.sweeps.setups import processes

PLAN = {"num_prompts": 4, "input_len": 4, "output_len": 3, "max_concurrency": 2}
FAST, SLOW = (
    {"name": name, "simulator": {"ttft_ms": ms, "itl_ms": 1}} for name, ms in (("fast", 2), ("slow", 30))
)
SIM = f"{sys.executable} -m vllmperf sim --port {{port}} --ttft-ms 2 --itl-ms 1"


def sweep(folder: Path | None = None, *setups: dict[str, object], **given: object) -> vp.Sweep:
    return vp.sweep({"setups": setups or [FAST], "plan": PLAN, **given}, output=folder)


def events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def marks(folder: Path) -> list[str]:
    return [str(event["mark"]) for event in events(folder) if "mark" in event]


# ---- the course of a sweep ----


def test_every_point_is_a_run_file_that_says_what_it_is(tmp_path):
    found = sweep(tmp_path / "s", FAST, SLOW, axes={"output_len": [2, 3]}, plan={"num_prompts": 3}, repeat=2)
    assert found.is_complete
    assert found.failures == {}
    assert len(list((tmp_path / "s").glob("*.vllmperf"))) == 8
    run = vp.open_run(tmp_path / "s" / "slow--output_len=3--2.vllmperf")
    plan = run.summary["plan"]
    assert (plan["label"], plan["output_len"], plan["seed"]) == ("slow", 3, 1)
    assert run.summary["requests"]["completed"] == 3


def test_a_command_is_started_measured_and_stopped(tmp_path):
    found = sweep(tmp_path / "s", {"name": "own", "command": SIM}, repeat=2)
    assert found.is_complete
    assert (tmp_path / "s/logs/own_stdout.log").exists()
    (mark,) = marks(tmp_path / "s")
    assert processes.Family(mark).pids() == []


def test_restart_starts_a_server_for_each_point(tmp_path):
    sweep(tmp_path / "s", FAST, SLOW, axes={"output_len": [2, 3]}, reset="restart")
    kinds = [event["event"] for event in events(tmp_path / "s")]
    assert kinds.count("server_ready") == kinds.count("server_stopped") == 4


def test_salted_points_have_prompts_of_their_own_and_the_same_requests_otherwise(tmp_path):
    found = sweep(tmp_path / "s", FAST, repeat=2, reset="salt")
    plans = [one.run().summary["plan"] for one in found.points]
    assert len({plan["prompt_salt"] for plan in plans}) == 2


def test_a_server_that_has_no_cache_to_reset_is_a_failure_with_a_remedy(tmp_path, monkeypatch):
    from vllmperf.sweeps import running

    monkeypatch.setattr(running, "RESET_PATH", "/no_such_path")
    found = sweep(tmp_path / "s", FAST, reset="cache")
    assert "VLLM_SERVER_DEV_MODE=1" in found.failures["fast, repeat 1"]
    assert not list((tmp_path / "s").glob("*.vllmperf*"))


def test_set_ups_that_fail_are_reported_and_the_others_go_on(tmp_path):
    found = sweep(
        tmp_path / "s",
        {"name": "dies", "command": "echo no such GPU >&2; exit 3; : {port}"},
        {"name": "mute", "command": "exec sleep 60; : {port}", "ready_timeout": 0.2, "stop_timeout": 1},
        FAST,
        repeat=2,
    )
    assert len(found.rows()) == 2
    assert "ended with exit code 3: no such GPU" in found.failures["dies"]
    assert "was not ready within 0.2 s" in found.failures["mute"]
    assert "no such GPU" in (tmp_path / "s/logs/dies_stderr.log").read_text()
    assert [event["event"] for event in events(tmp_path / "s")].count("setup_failed") == 2
    for mark in marks(tmp_path / "s"):
        assert processes.Family(mark).pids() == []


def test_ready_is_a_completion_and_not_a_list_of_models(tmp_path):
    refusing = {"name": "refuses", "simulator": {"faults": ["status:code=500"]}, "ready_timeout": 0.2}
    found = sweep(tmp_path / "s", refusing)
    assert "500" in found.failures["refuses"]


def test_a_point_without_a_completed_request_is_a_failure_and_is_tried_again(tmp_path):
    failing = {"name": "fails", "simulator": {"faults": ["status:code=500@at=2,3,4,5"]}}
    found = sweep(tmp_path / "s", failing)
    assert "no request was completed (4 http_error)" in found.failures["fails, repeat 1"]
    assert not found.rows()


def test_what_a_server_starts_ends_with_it_even_in_a_session_of_its_own(tmp_path):
    command = f"setsid sleep 300 & exec {SIM}"
    sweep(tmp_path / "s", {"name": "own", "command": command})
    (mark,) = marks(tmp_path / "s")
    assert processes.Family(mark).pids() == []


def test_a_process_without_the_servers_environment_ends_with_its_session(tmp_path):
    """Agents of Ray overwrite theirs with a title."""
    nameless = f"trap '' TERM; echo $$ > {tmp_path}/pid; exec sleep 300"
    command = f"env -i sh -c {shlex.quote(nameless)} & exec {SIM}"
    sweep(tmp_path / "s", {"name": "own", "command": command, "stop_timeout": 0.2})
    state = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_server_that_ignores_sigterm_is_killed(tmp_path):
    ignores = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(300)"
    command = f"{sys.executable} -c '{ignores}' {{port}}"
    sweep(tmp_path / "s", {"name": "own", "command": command, "ready_timeout": 0.5, "stop_timeout": 0.2})
    (mark,) = marks(tmp_path / "s")
    assert processes.Family(mark).pids() == []


# ---- going on ----


def test_the_same_sweep_goes_on_with_what_is_missing(tmp_path):
    folder = tmp_path / "s"
    sweep(folder, repeat=2)
    kept, gone = folder / "fast--1.vllmperf", folder / "fast--2.vllmperf"
    before = kept.stat().st_mtime_ns
    gone.unlink()
    (folder / "fast--2.vllmperf.part").write_bytes(b"half a file")
    assert not vp.open_sweep(folder).is_complete
    assert sweep(folder, repeat=3).is_complete
    assert kept.stat().st_mtime_ns == before
    assert sorted(path.name for path in folder.glob("*.vllmperf*")) == [
        f"fast--{k}.vllmperf" for k in (1, 2, 3)
    ]


def test_another_sweep_in_the_folder_is_refused_and_nothing_is_lost(tmp_path):
    sweep(tmp_path / "s", repeat=2)
    with pytest.raises(UsageError, match="holds another sweep"):
        sweep(tmp_path / "s", SLOW, repeat=2)
    with pytest.raises(UsageError, match="ask for as many or more"):
        sweep(tmp_path / "s")
    (tmp_path / "t").mkdir()
    (tmp_path / "t/file").touch()
    with pytest.raises(UsageError, match="holds no sweep"):
        sweep(tmp_path / "t")
    assert vp.open_sweep(tmp_path / "s").is_complete


def started(folder: Path, file: Path, event: str) -> subprocess.Popen[bytes]:
    """`vllmperf sweep` in a process, when this has happened in its folder."""
    words = [sys.executable, "-m", "vllmperf", "sweep", str(file), "--output", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "events.jsonl").exists() or not any(one["event"] == event for one in events(folder)):
        assert process.poll() is None
        time.sleep(0.02)
    return process


def test_a_sweep_that_was_killed_goes_on_and_ends_the_server_that_was_left(tmp_path):
    given = {"setups": [{"name": "own", "command": SIM}], "plan": PLAN, "repeat": 6}
    file, folder = tmp_path / "s.json", tmp_path / "s"
    file.write_text(json.dumps(given))
    process = started(folder, file, "point_finished")
    process.send_signal(signal.SIGKILL)
    process.wait()
    (left,) = marks(folder)
    assert processes.Family(left).pids()
    found = vp.sweep(file, output=folder)
    assert found.is_complete
    assert len(found.rows()) == 6
    assert processes.Family(left).pids() == []
    finished = [event["point"] for event in events(folder) if event["event"] == "point_finished"]
    assert len(finished) == len(set(finished)) or len(finished) == 7  # killed between the file and the note


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_a_server_starts_leaves_none_behind(tmp_path, number):
    given = {"setups": [{"name": "mute", "command": "setsid sleep 300 & sleep 300; : {port}"}], "plan": PLAN}
    file, folder = tmp_path / "s.json", tmp_path / "s"
    file.write_text(json.dumps(given))
    process = started(folder, file, "server_started")
    process.send_signal(number)
    assert process.wait() == 130
    (mark,) = marks(folder)
    assert processes.Family(mark).pids() == []


def test_two_sweeps_do_not_write_to_one_folder(tmp_path):
    given = {"setups": [{"name": "mute", "command": "sleep 300; : {port}"}], "plan": PLAN}
    file, folder = tmp_path / "s.json", tmp_path / "s"
    file.write_text(json.dumps(given))
    process = started(folder, file, "server_started")
    try:
        with pytest.raises(UsageError, match=r"writes to .* now"):
            vp.sweep(file, output=folder)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


# ---- the result ----


def test_the_folder_is_the_result(tmp_path):
    slow, fast = ({**one, "simulator": {**one["simulator"], "itl_ms": 20}} for one in (SLOW, FAST))
    made = sweep(tmp_path / "s", slow, fast, repeat=2, axes={"output_len": [8, 9]}, plan={"num_prompts": 4})
    found = vp.open_sweep(tmp_path / "s")
    assert found.rows() == made.rows()
    assert found.setups == ["slow", "fast"]
    assert found.loads == ["output_len=8", "output_len=9"]
    first = found.rows()[0]
    assert (first["setup"], first["output_len"], first["repeat"], first["completed"]) == ("slow", 8, 1, 4)
    assert first["ttft_p50_ms"] >= 30
    assert first["ttft_p50_ms"] == pytest.approx(found.points[0].run().ttft.p50)
    data = json.loads(json.dumps(found.to_dict()))
    assert len(data["points"]) == 8
    assert len(data["effects"]) == 2 * 4
    with found.to_csv(tmp_path / "s.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == [row["file"] for row in found.rows()]
    text = repr(found)
    assert "2 set-ups × 2 loads × 2 repeats: 8 of 8 points measured" in text
    assert "<table" in found._repr_html_()


def test_a_frame_has_a_row_a_point(tmp_path):
    pytest.importorskip("pandas", reason="the extra plots is not installed")
    frame = sweep(None, FAST, SLOW).frame()
    assert list(frame["setup"]) == ["fast", "slow"]
    assert frame["output_tokens_per_s"].notna().all()


def test_a_single_repeat_is_held_against_the_chance_within_its_runs():
    found = sweep(None, FAST, SLOW, plan={**PLAN, "num_prompts": 200, "max_concurrency": 32})
    rows = vp.compare(*(one.run() for one in found.points)).rows
    differences = {row.key: row.tested for row in rows if row.tested is not None}
    keys = {
        "ttft_p50": "median_ttft_ms",
        "itl_mean": "mean_itl_ms",
        "output_tokens_per_s": "output_throughput",
    }
    seen = {one.quantity.name: (one.low, one.high) for one in found.effects}
    assert {name: seen[name] for name in keys} == {
        name: (differences[key].share_low, differences[key].share_high) for name, key in keys.items()
    }


# ---- the command ----


def test_the_command_sweeps_shows_and_goes_on(tmp_path, capsys):
    file = tmp_path / "s.yaml"
    file.write_text(json.dumps({"setups": [FAST, SLOW], "plan": PLAN}))
    assert main(["sweep", str(file), "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert "2 points to measure" in dry
    assert "fast, repeat 1, seed 0" in dry
    assert not (tmp_path / "s").exists()
    assert main(["sweep", str(file), "--csv", str(tmp_path / "s.csv")]) == 0
    shown = capsys.readouterr()
    assert "2 of 2 points measured" in shown.out
    assert "1 of 2: " in shown.err
    assert main(["sweep", str(file), "--repeat", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["points"]) == 4
    assert main(["sweep", str(file), "--repeat", "2", "--dry-run"]) == 0
    assert "0 points to measure" in capsys.readouterr().out
    assert main(["sweep", str(file), "--repeat", "9", "--dry-run"]) == 0
    assert "14 points to measure" in capsys.readouterr().out
    assert main(["sweep", str(tmp_path / "s")]) == 0
    assert "4 of 4 points measured" in capsys.readouterr().out


def test_the_command_ends_with_1_when_a_set_up_failed_and_with_2_for_a_bad_file(tmp_path, capsys):
    file = tmp_path / "s.yaml"
    file.write_text(json.dumps({"setups": [{"name": "dies", "command": "exit 3; : {port}"}], "plan": PLAN}))
    assert main(["sweep", str(file)]) == 1
    assert "dies failed: the server ended with exit code 3" in capsys.readouterr().out
    file.write_text("setups: 3")
    assert main(["sweep", str(file)]) == 2
    assert os.linesep not in capsys.readouterr().err.strip()
