"""The drop-ins on an stdout that is closed, full or not UTF-8: the run goes on and its file is written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vllmperf.sim import Server

ROOT = Path(__file__).parents[2]
FAST = {"ttft_ms": 2, "itl_ms": 0.5}
LOG = "INFO 02-13 15:00:42 api_server.py:840] vLLM API server version 0.7.3\nINFO:     Application startup complete.\n"
NAMES = ["guidellm", "llm_bench", "vllm-0.6", "vllm-2026", "vllm-logParser"]


@pytest.fixture(scope="module")
def server(model):
    with Server(**FAST, model=str(model)) as found:
        yield found


def script(name):
    return [sys.executable, str(ROOT / "scripts" / name)]


def command(name, server, model, folder):
    """(words, file that they write)"""
    url = server.url
    if name == "guidellm":
        words = (
            f"-m vllmperf guidellm benchmark --target {url} --rate-type synchronous --max-requests 3 --data"
        )
        return [sys.executable, *words.split(), "prompt_tokens=4,output_tokens=3", "--output-path", folder / "out"
                ".json"], folder / "out.json"  # fmt: skip
    if name == "llm_bench":
        words = f"-H {url} --provider vllm -m {model} --headless -u 2 -r 2 --qps 20 -p 40 -o 3 -t 1s --summary-file"
        return [*script("llm_bench.py"), *words.split(), folder / "out.csv"], folder / "out.csv"
    if name == "vllm-logParser":
        (folder / "log").write_text(LOG)
        written = folder / "data" / "vllm-server-startup-latency.txt"
        return [*script("vllm-logParser.py"), "-f", folder / "log", "-o", folder / "data"], written
    words = (
        f"--profile {name} --base-url {url} --backend vllm --model {model} --dataset-name random --random-input-len 8 "
        f"--random-output-len 3 --num-prompts 4 --save-result --result-dir {folder} --result-filename out.json"
    )
    return [*script("benchmark_serving.py"), *words.split()], folder / "out.json"


def ended(words, **streams):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **streams.pop("environment", {})}
    return subprocess.run(list(map(str, words)), env=environment, timeout=120, check=False, **streams)


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_that_goes_away_costs_no_file(name, server, model, tmp_path):
    words, path = command(name, server, model, tmp_path)
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = ended(words, stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    assert (done.returncode, path.exists()) == (0, True), done.stderr
    assert b"stdout was closed" in done.stderr.splitlines()[-1]
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_full_stdout_costs_no_file_and_is_exit_code_1(name, server, model, tmp_path):
    words, path = command(name, server, model, tmp_path)
    with Path("/dev/full").open("w") as full:
        done = ended(words, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, path.exists()) == (1, True), done.stderr
    assert b"stdout cannot be written (No space left on device)" in done.stderr.splitlines()[-1]
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437"])
@pytest.mark.parametrize("name", NAMES[:3])
def test_an_output_that_is_not_utf_8_costs_nothing(name, encoding, server, model, tmp_path):
    words, path = command(name, server, model, tmp_path)
    done = ended(words, capture_output=True, environment={"PYTHONIOENCODING": encoding})
    assert (done.returncode, path.exists()) == (0, True), done.stderr
    assert done.stdout.decode(encoding)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["vllm-0.6", "vllm-2026"])
def test_a_result_that_cannot_be_written_is_one_line_below_the_table(name, server, model, tmp_path):
    words, _ = command(name, server, model, tmp_path)
    (tmp_path / "out.json").mkdir()
    done = ended(words, capture_output=True)
    assert done.returncode == 2
    assert b"Successful requests:                     4" in done.stdout
    assert b"cannot write the result" in done.stderr.splitlines()[-1]
