"""Programs under the names of the tools that we replace."""

import subprocess

import pytest
from guidellm_commands import FAST, ONCE, only, words

from vllmperf.cli import main as vllmperf
from vllmperf.dropin import shims
from vllmperf.errors import UsageError
from vllmperf.formats import guidellm_file
from vllmperf.sim import Server


def test_shims_are_programs_under_the_old_names(tmp_path, capsys):
    folder = tmp_path / "bin"
    assert vllmperf(["shims", str(folder)]) == 0
    names = [
        "guidellm",
        "benchmark_serving.py",
        "benchmark.py",
        "bench_serving.py",
        "llm_bench",
        "llm_bench.py",
    ]
    assert capsys.readouterr().out.split() == [str(folder / name) for name in names]
    for name in names:
        shown = subprocess.run([folder / name, "--help"], capture_output=True, text=True, check=False)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout
    assert vllmperf(["shims", str(folder)]) == 0  # again is fine


def test_a_program_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "guidellm").write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match="guidellm is there already"):
        shims.write(tmp_path)
    assert (tmp_path / "guidellm").read_text() == "#!/bin/sh\n"


def test_the_shim_runs_a_benchmark(tmp_path):
    shims.write(tmp_path)
    with Server(**FAST) as server:
        command = [tmp_path / "guidellm", *words(server.url, ONCE, tmp_path / "a.json")[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert only(guidellm_file.load(tmp_path / "a.json"))["request_totals"]["successful"] == 1
