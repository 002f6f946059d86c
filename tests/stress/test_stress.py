"""The preset of a stress run, and a command that goes on when it is started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lossy import recorded

import vllmperf as vp
from vllmperf.api.stress_runs import PRESET, stress_task
from vllmperf.cli import main
from vllmperf.errors import UsageError

URL = {"base_url": "http://127.0.0.1:9"}
SCRIPT = Path(__file__).parents[2] / "scripts/bench/stress_faults"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def text(folder):
    (folder / "app").mkdir()
    (folder / "app/sonnet.txt").write_text("a line of the poem\n" * 20)
    return folder / "app/sonnet.txt"


def words_of(server, **more: object) -> list[str]:
    given = {"num-prompts": 30, "request-rate": 200, "base-url": server.url, **more}
    return [
        "stress",
        *(word for name, value in given.items() for word in (f"--{name}", str(value))),
        "--no-progress",
    ]


# ---- the preset ----


def test_the_preset_is_half_a_million_prompts_of_the_text_that_the_image_brings(text):
    task, notes = stress_task(URL)
    plan = task.plan
    assert (plan.load.num_prompts, plan.load.request_rate) == (500_000, 12)
    assert (plan.workload.dataset_name, plan.workload.dataset_path) == ("sonnet", "app/sonnet.txt")
    assert plan.workload.lengths == (512, 2, 128)
    assert (task.knobs.keep_gaps, task.knobs.report_interval, task.knobs.on_server_loss) == (
        "sample",
        60,
        "wait",
    )
    assert notes == []


def test_without_a_text_made_up_prompts_of_the_same_length_take_its_place_and_that_is_said(folder):
    task, notes = stress_task(URL)
    work = task.plan.workload
    assert work.dataset_name == "random"
    assert (work.lengths.input, work.lengths.prefix, work.lengths.output) == (512 - 128, 128, 2)
    assert "made-up prompts" in notes[0]


@pytest.mark.parametrize(
    "given",
    [
        {"request_rate": 20.0},
        {"rate": 20.0},
        {"num_prompts": 7},
        {"sonnet_input_len": 1024},
        {"output_len": 9},
        {"keep_gaps": "none"},
        {"report_interval": "10s"},
        {"on_server_loss": "record"},
    ],
)
def test_every_setting_overrides_the_preset(text, given):
    task, _ = stress_task({**URL, **given})
    settings = {**task.plan.flat(), **task.facts()}
    (name, value) = next(iter(given.items()))
    own = {"rate": "request_rate", "sonnet_input_len": "input_len"}.get(name, name)
    assert settings[own] == {"10s": 10.0}.get(value, value)
    others = {name: value for name, value in PRESET.items() if name != own}
    assert {name: settings[name] for name in others} == others


def test_a_duration_takes_the_place_of_the_number_of_prompts(text):
    task, _ = stress_task({**URL, "duration": "8h"})
    assert (task.plan.load.num_prompts, task.plan.load.duration) == (None, 8 * 3600)


def test_a_data_set_with_lengths_of_its_own_keeps_them(folder):
    (folder / "chats.json").write_text("[]")
    task, _ = stress_task({**URL, "dataset_name": "sharegpt", "dataset_path": "chats.json"})
    assert task.plan.workload.input_len is None
    assert task.plan.workload.output_len == 2


def test_the_command_prints_the_plan_of_the_preset(text, capsys):
    assert main(["stress", "--base-url", "http://127.0.0.1:9", "--print-plan"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["load"]["num_prompts"] == 500_000


def test_the_help_names_the_preset_and_its_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["stress", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--num-prompts 500000 --request-rate 12 --dataset-name sonnet --sonnet-input-len 512" in shown
    assert "(default: 12)" in shown


# ---- started again ----


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_when_the_command_is_started_again(folder):
    with vp.sim.Server(ttft_ms=20, itl_ms=2) as server:
        words = words_of(server, **{"num-prompts": 200, "request-rate": 50})
        command = [sys.executable, "-m", "vllmperf", *words]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            while len(recorded(folder / "stress.vllmperf")) < 40:
                assert child.poll() is None
            child.send_signal(signal.SIGKILL)
        assert main(words) in (0, 1)
    run = vp.open_run("stress.vllmperf")
    assert run.requests["index"].tolist() == list(range(200))
    assert [one["reason"] for one in run.summary["breaks"]] == ["client"]


def test_a_complete_run_is_shown_again_and_nothing_is_sent(folder, capsys):
    with vp.sim.Server(ttft_ms=1, itl_ms=1) as server:
        words = words_of(server)
        main(words)
        first = capsys.readouterr().out
    main(words)  # the server is gone
    out, err = capsys.readouterr()
    assert out == first
    assert "is complete" in err


def test_another_plan_for_the_same_file_is_refused(folder, capsys):
    with vp.sim.Server(ttft_ms=1, itl_ms=1) as server:
        main(words_of(server))
        assert main(words_of(server, **{"request-rate": 100})) == 2
    assert (
        "--record stress.vllmperf: --request-rate was 200 when this run started and is 100 now"
        in capsys.readouterr().err
    )


def test_a_run_that_goes_on_in_another_process_is_left_alone(folder):
    with vp.sim.Server(ttft_ms=20, itl_ms=2) as server:
        words = words_of(server, **{"num-prompts": 2000, "request-rate": 50})
        command = [sys.executable, "-m", "vllmperf", *words]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            while len(recorded(folder / "stress.vllmperf")) < 5:
                assert child.poll() is None
            assert main(words) == 2
            child.kill()


def test_the_python_function_goes_on_too(folder):
    with vp.sim.Server(ttft_ms=1, itl_ms=1) as server:
        settings = {"num_prompts": 30, "request_rate": 300, "dataset_name": "random"}
        run = vp.stress(server, record=folder / "run", **settings)
        assert vp.stress(server, record=folder / "run", **settings).path == run.path
        with pytest.raises(UsageError, match="request_rate was 300"):
            vp.stress(server, record=folder / "run", **{**settings, "request_rate": 200})


@pytest.mark.slow
def test_through_a_restart_of_the_server_and_a_kill_of_the_client_nothing_is_lost_or_doubled(tmp_path):
    words = ["--minutes", "0.35", "--rate", "60", "--server-down", "2", "--folder", str(tmp_path)]
    done = subprocess.run([sys.executable, SCRIPT, *words], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "client.log").read_text()
    assert "asked 1260, recorded 1260" in done.stdout
    assert "doubled: 0;" in done.stdout
