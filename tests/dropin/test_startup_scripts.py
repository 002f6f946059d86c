"""The drop-ins of vllm-serverStartupLatency.py and vllm-logParser.py: old words in, old files out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vllmperf.dropin import log_parser, startup_latency
from vllmperf.errors import TargetError
from vllmperf.starts.live import pods
from vllmperf.starts.live.measurement import Measurement
from vllmperf.starts.result import Failure, Phase, Start

SCRIPTS = Path(__file__).parents[2] / "scripts"
NAME = "vllm-server-startup-latency.txt"

LOG = """\
INFO 02-13 15:00:40 __init__.py:190] Automatically detected platform cuda.
INFO 02-13 15:00:42 api_server.py:840] vLLM API server version 0.7.3
INFO 02-13 15:00:59 gpu_model_runner.py:867] Starting to load model org/model...
INFO 02-13 15:01:16 weight_utils.py:257] Time spent downloading weights for org/model: 17.230000 seconds
INFO 02-13 15:01:23 loader.py:422] Loading weights took 6.90 seconds
INFO 02-13 15:01:23 gpu_model_runner.py:872] Loading model weights took 4.7200 GB
INFO 02-13 15:01:29 backends.py:587] Dynamo bytecode transform time: 6.77 s
INFO 02-13 15:01:56 backends.py:323] Compiling a graph for general shape takes 32.57 s
INFO 02-13 15:02:06 monitor.py:33] torch.compile takes 39.34 s in total
INFO 02-13 15:02:06 kv_cache_utils.py:407] # GPU blocks: 33660
INFO 02-13 15:02:29 gpu_model_runner.py:1043] Graph capturing finished in 23 secs, took 0.62 GiB
INFO 02-13 15:02:29 core.py:91] init engine (profile, create kv cache, warmup model) took 65.89 seconds
INFO 02-13 15:02:29 launcher.py:21] Available routes are:
INFO 02-13 15:02:29 launcher.py:29] Route: /metrics, Methods: GET
INFO:     Application startup complete.
"""


def parse(*words: str) -> int:
    return log_parser.main(words)


def run(name: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent)}
    command = [sys.executable, str(SCRIPTS / name), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    path = tmp_path / "pod-vllm-logs.txt"
    path.write_text(LOG)
    return path


# ---- vllm-logParser.py ----


def test_the_guides_command_writes_the_guides_columns(log_file: Path, tmp_path: Path) -> None:
    done = run("vllm-logParser.py", "-f", str(log_file), "-o", str(tmp_path / "data"), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {tmp_path}/data/{NAME}\n"
    cells = (tmp_path / "data" / NAME).read_text().rstrip("\n").split("\t")
    engine, download, load, size, _, compiled, graphs, _ = cells
    assert (engine, download, load, size, compiled, graphs) == ("19", "17.23", "7", "4.72", "39.34", "23")


def test_the_first_days_words_are_taken_too(log_file: Path, tmp_path: Path) -> None:
    assert parse(str(log_file), str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / NAME).exists()


def test_the_folder_is_made_and_has_the_old_default_name(
    log_file: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("-f", str(log_file)) == 0
    assert (tmp_path / "vllm-log-dir" / NAME).exists()


def test_the_layout_of_july_has_13_columns(log_file: Path, tmp_path: Path) -> None:
    assert parse("-f", str(log_file), "-o", str(tmp_path), "--layout", "E") == 0
    assert len((tmp_path / NAME).read_text().split("\t")) == 13


def test_cached_weights_count_from_the_start_of_loading(log_file: Path, tmp_path: Path) -> None:
    parse("-f", str(log_file), "-o", str(tmp_path), "--model-cached", "yes")
    assert (tmp_path / NAME).read_text().split("\t")[2] == "24"


def test_a_log_that_ends_too_early_gives_nan_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.log"
    path.write_text("\n".join(LOG.splitlines()[:5]) + "\n")
    assert parse("-f", str(path), "-o", str(tmp_path)) == 0
    assert (tmp_path / NAME).read_text().rstrip().split("\t")[-1] == "nan"
    assert "does not show the server up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "-f/--filename"),
        (("-f", "nowhere.log", "-o", "x"), "nowhere.log"),
        (("-f", "other.log", "-o", "x"), "no line of a vLLM server"),
        (("-f", "other.log", "--model-cached", "maybe"), "maybe"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.log").write_text("hello\nworld\n")
    assert parse(*words) == 2
    message = capsys.readouterr().err
    assert message.startswith("vllm-logParser.py: error: ")
    assert said in message
    assert message.count("\n") == 1


# ---- vllm-serverStartupLatency.py ----

Measure = Callable[..., list[Start]]


def ready(name: str, folder: Path) -> Start:
    second = 1_000_000_000
    phases = (
        Phase("imports", 0, 10 * second, "process", 1.0),
        Phase("ready", 90 * second, 95 * second, "status", 1.0),
    )
    path = folder / f"{name}-log.txt"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(LOG)
    return Start(name, "created", "ready", 0, 95 * second, phases, log_path=str(path))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A cluster of two pods in the place of a real one; holds what it was asked."""
    found: dict[str, Any] = {}

    def measure(settings: Measurement) -> list[Start]:
        found.update(settings.to_dict())
        assert settings.output is not None
        return [ready(name, settings.output) for name in ("pod-a", "pod-b")]

    monkeypatch.setattr(pods, "measure", measure)
    return found


def test_the_live_guides_command_does_what_it_says(
    asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"-cfg /k/config -ctx wec1 -l environment=test -c vllm -n vllm-test -m gpt2 -o {tmp_path}/data"
    assert startup_latency.main(words.split()) == 0
    expected = {
        "config": "/k/config",
        "context": "wec1",
        "label": "environment=test",
        "containername": "vllm",
    }
    assert expected.items() <= asked.items()
    assert asked["namespace"] == "vllm-test"
    rows = (tmp_path / "data" / f"gpt2_{NAME}").read_text().splitlines()
    assert [line.split("\t")[:2] for line in rows] == [["pod-a", "10"], ["pod-b", "10"]]
    assert all(len(line.split("\t")) == 10 for line in rows)
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {tmp_path}/data/gpt2_{NAME}",
        f"wrote {tmp_path}/data/pod-a-log.txt",
        f"wrote {tmp_path}/data/pod-b-log.txt",
    ]


def test_none_means_the_kubeconfig_of_the_environment(asked: dict[str, Any], tmp_path: Path) -> None:
    startup_latency.main(["-cfg", "None", "-ctx", "None", "-c", "None", "-l", "a=b", "-o", str(tmp_path)])
    assert (asked["config"], asked["context"], asked["containername"]) == (None, None, None)
    assert (tmp_path / f"mymodel_{NAME}").exists()


def test_the_home_folder_in_a_path_is_expanded(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    startup_latency.main(["-cfg", "~/.kube/config", "-l", "a=b", "-o", str(tmp_path)])
    assert asked["config"] == "/home/somebody/.kube/config"


def test_without_a_label_every_pod_of_the_namespace_is_asked_for(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    startup_latency.main(["-o", str(tmp_path)])
    assert asked["label"] == startup_latency.EVERY_POD
    assert asked["namespace"] == "default"


@pytest.mark.parametrize(("words", "model"), [("cfg ctx l=a ns m", "m"), ("cfg ctx l=a ns", "mymodel")])
def test_the_live_words_of_the_first_days(
    asked: dict[str, Any], tmp_path: Path, words: str, model: str
) -> None:
    startup_latency.main([*words.split(), str(tmp_path)])
    assert (asked["config"], asked["context"], asked["label"], asked["namespace"]) == (
        "cfg",
        "ctx",
        "l=a",
        "ns",
    )
    assert (tmp_path / f"{model}_{NAME}").exists()


def test_a_model_with_a_slash_stays_in_the_folder(asked: dict[str, Any], tmp_path: Path) -> None:
    startup_latency.main(["-l", "a=b", "-m", "org/model", "-o", str(tmp_path)])
    assert (tmp_path / f"org_model_{NAME}").exists()


def test_a_pod_that_is_not_up_is_named_and_the_others_are_written(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    why = Failure("image_pull", None, "manifest unknown", "ImagePullBackOff")

    def measure(settings: Measurement) -> list[Start]:
        assert settings.output is not None
        good = ready("pod-a", settings.output)
        return [good, replace(good, name="pod-bad", reached=False, failure=why, log_path=None, phases=())]

    monkeypatch.setattr(pods, "measure", measure)
    assert startup_latency.main(["-l", "a=b", "-o", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "pod-bad: failed in image pull (ImagePullBackOff): manifest unknown" in message
    bad = (tmp_path / f"mymodel_{NAME}").read_text().splitlines()[1]
    assert bad.split("\t") == ["pod-bad", *["nan"] * 9]  # nothing of the pod before it


def test_a_cluster_that_does_not_answer_is_one_line(
    tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_settings: Measurement) -> list[Start]:
        raise TargetError("the cluster does not answer")

    monkeypatch.setattr(pods, "measure", measure)
    assert startup_latency.main(["-l", "a=b", "-o", str(tmp_path)]) == 3
    assert capsys.readouterr().err == "vllm-serverStartupLatency.py: error: the cluster does not answer\n"


@pytest.mark.parametrize("name", ["vllm-serverStartupLatency.py", "vllm-logParser.py"])
def test_help_names_the_old_arguments(name: str, tmp_path: Path) -> None:
    done = run(name, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert "--model-cached" in done.stdout
    assert "--output" in done.stdout
