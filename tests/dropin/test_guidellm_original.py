"""Our reports in the hands of guidellm 0.3.1 itself.

Needs VLLMPERF_GUIDELLM_PYTHON: the Python of an environment with `pip install guidellm==0.3.1`.
"""

import json
import os
import subprocess
import sys

import pytest

from vllmperf.cli import main as vllmperf
from vllmperf.dropin.guidellm.settings import settings, variables
from vllmperf.sim import Server

PYTHON = os.environ.get("VLLMPERF_GUIDELLM_PYTHON")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="guidellm 0.3.1 is not here: VLLMPERF_GUIDELLM_PYTHON names no Python that has it"
)

READ = """
import json, sys
from guidellm.benchmark import GenerativeBenchmarksReport
from guidellm.benchmark.benchmark import GenerativeBenchmark
report = GenerativeBenchmarksReport.load_file(sys.argv[1])
again = []
for b in report.benchmarks:
    rows = b.requests
    again.append(GenerativeBenchmark.from_stats(
        b.run_id, rows.successful, rows.incomplete, rows.errored, b.args, b.run_stats, b.worker, b.request_loader, b.extras
    ).metrics.model_dump())
print(json.dumps({"dumped": report.model_dump(), "metrics": again}))
"""
RUNS = (
    "--rate-type synchronous --max-seconds 1",
    "--rate-type concurrent --rate 1,4 --max-seconds 1",
    "--profile kind=throughput,max_concurrency=8 --max-seconds 1",
    "--rate-type poisson --rate 40 --max-seconds 1 --guidellm-burst",
    "--rate-type sweep --rate 3 --max-requests 20",
)


def same(ours, theirs, path=""):
    """Whether two values agree, floats to rounding; the first difference is in the message."""
    if isinstance(ours, dict):
        assert list(ours) == list(theirs), path
        for key, value in ours.items():
            same(value, theirs[key], f"{path}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), path
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            same(mine, other, f"{path}[{number}]")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1e-9), path
    else:
        assert ours == theirs, path


def with_zeros(report):
    """One token has no gap: guidellm computes 0.0 for that when it loads a row, ours say null."""
    for one in report["benchmarks"]:
        for row in (row for rows in one["requests"].values() for row in rows or ()):
            if row["first_token_time"] is not None and row["output_tokens"] <= 1:
                assert row["inter_token_latency_ms"] is None
                row["inter_token_latency_ms"] = 0.0
    return report


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("more", RUNS)
def test_guidellm_reads_our_report_writes_it_again_and_computes_the_same(tmp_path, more, suffix):
    path = tmp_path / f"out.{suffix}"
    with Server(ttft_ms=5, itl_ms=2, faults=["status:code=500@every=9"]) as server:
        command = f"guidellm benchmark --target {server.url} --data prompt_tokens=16,output_tokens=20 {more}"
        assert vllmperf([*command.split(), "--disable-progress", "--output-path", str(path)]) == 0
    read = subprocess.run([PYTHON, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    found = json.loads(read.stdout)
    if suffix == "json":
        same(with_zeros(json.loads(path.read_text())), found["dumped"])
    for one, metrics in zip(found["dumped"]["benchmarks"], found["metrics"], strict=True):
        same(one["metrics"], metrics)


def from_file(command, folder):
    """(printed lines, CSV) of benchmark from-file at 80 columns."""
    words = [*command, "benchmark", "from-file", "out.json", "--output-path", "again.csv"]
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment, cwd=folder)
    return [line.rstrip() for line in done.stdout.splitlines()], (folder / "again.csv").read_text()


def test_the_same_report_is_printed_the_same_to_the_letter(tmp_path):
    path = tmp_path / "out.json"
    with Server(ttft_ms=5, itl_ms=2) as server:
        command = f"guidellm benchmark --target {server.url} --data prompt_tokens=16,output_tokens=20"
        more = ["--rate-type", "concurrent", "--rate", "1,3", "--max-requests", "9", "--disable-progress"]
        assert vllmperf([*command.split(), *more, "--output-path", str(path)]) == 0
    theirs = from_file([PYTHON, "-m", "guidellm"], tmp_path)
    assert from_file([sys.executable, "-m", "vllmperf", "guidellm"], tmp_path) == theirs


def test_a_file_env_means_the_same_to_guidellm(tmp_path):
    text = (
        "# a comment\nexport GUIDELLM__MAX_CONCURRENCY=7   # seven\nguidellm__request_timeout='11'\n"
        'GUIDELLM__OPENAI__API_KEY="sk-${NOBODY:-abc}-\\"q\\"\\n"\nGUIDELLM__OPENAI__HEADERS={"x-a": "b"}\n'
        "GUIDELLM__OPENAI__PROJECT='a\nb'\nGUIDELLM__OPENAI__ORGANIZATION=${GUIDELLM__MAX_CONCURRENCY}x#y\n"
    )
    (tmp_path / ".env").write_text(text)
    code = "import json; from guidellm.config import settings; print(settings.model_dump_json())"
    read = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    theirs, ours = json.loads(read.stdout), settings(variables({}, tmp_path))
    assert (ours.max_concurrency, ours.request_timeout) == (
        theirs["max_concurrency"],
        theirs["request_timeout"],
    )
    for name in ("api_key", "headers", "project", "organization"):
        assert getattr(ours, "openai__" + name) == theirs["openai"][name]
