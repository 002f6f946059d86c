"""What a worker may reach and open."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vllmperf.reach import Reach
from vllmperf.service.guard.cell import cell_of
from vllmperf.service.guard.settings import Guard


def printed(code: str, **environment: str) -> list[str]:
    """What a process of its own prints: a cell is for good."""
    whole = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=whole
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


ENTER = """
import os, socket, sys
from pathlib import Path
from vllmperf.service.guard.cell import enter_cell
data = Path({data!r})
(data / "run").mkdir(parents=True, exist_ok=True)
enter_cell(data, data / "run", {{"reach": {reach!r}}})
def told(call):
    try:
        call()
    except ConnectionRefusedError:
        return "refused by nobody there"
    except Exception as error:
        return f"{{type(error).__name__}}: {{error}}"
    return "done"
"""


def test_a_worker_is_told_the_rules_of_the_service(tmp_path):
    assert cell_of(Guard(tmp_path)) == {"reach": None}
    assert cell_of(Guard(tmp_path, reach=Reach.of(["10.0.0.1", "*.svc:80"]))) == {
        "reach": "10.0.0.1,*.svc:80"
    }


def test_the_bucket_of_the_environment_can_be_reached_beside_the_targets(tmp_path, port):
    lines = printed(
        ENTER.format(data=str(tmp_path), reach="10.0.0.1")
        + f"""
for host, number in (("127.0.0.1", {port}), ("127.0.0.1", {port} - 1)):
    print(told(lambda: socket.create_connection((host, number))))
""",
        BENCHMARK_RESULTS_BUCKET="results",
        BENCHMARK_RESULTS_ENDPOINT=f"http://127.0.0.1:{port}",
    )
    assert lines[0] == "refused by nobody there"
    assert lines[1].startswith("NotAllowedError")


@pytest.mark.parametrize(("reach", "offline"), [("cluster", "1"), ("cluster,hub", "None"), ("*", "None")])
def test_the_hub_is_asked_only_where_it_is_listed(reach, offline, tmp_path):
    code = ENTER.format(data=str(tmp_path), reach=reach) + 'print(os.environ.get("HF_HUB_OFFLINE"))'
    assert printed(code) == [offline]
