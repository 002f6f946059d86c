"""A client that gets 20 % of a core is not trusted, and the verdict names the quota; the same run without one does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from quota import inside, quota

import vllmperf as vp

LOAD = [
    "--max-concurrency",
    "256",
    "--num-prompts",
    "1500",
    "--input-len",
    "16",
    "--output-len",
    "64",
    "--model",
    "sim",
]
"""About 25,000 chunks/s: no client does that with a fifth of a core."""


def verdict_of(url: str, path: Path, group: Path | None) -> dict[str, Any]:
    words = [
        sys.executable,
        "-m",
        "vllmperf",
        "bench",
        "--base-url",
        url,
        *LOAD,
        "--record",
        str(path),
        "--json",
    ]
    done = subprocess.run(
        words if group is None else inside(group, words),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    verdict: dict[str, Any] = json.loads(done.stdout)["verdict"]
    assert (done.returncode == 1) == (verdict["level"] == "untrusted")
    return verdict


@pytest.fixture
def url():
    with vp.sim.Server(ttft_ms=50, itl_ms=10) as server:
        yield server.url


@pytest.mark.slow
def test_a_client_with_a_fifth_of_a_core_is_not_trusted_and_the_quota_is_named(
    url: str, tmp_path: Path
) -> None:
    path = tmp_path / "starved.vllmperf"
    with quota(0.2) as group:
        verdict = verdict_of(url, path, group)
    run = vp.open_run(path)
    found = [one for one in verdict["findings"] if one["name"] == "throttled"]
    if not found and run.summary["machine"]["others_cores"] > 1:
        pytest.skip("other processes left the client less than its quota")
    assert verdict["level"] != "trusted"
    assert "a quota of 0.2 cores" in found[0]["reason"]
    (bound,) = [one for one in run.explain() if one.name == "client_bound"]
    assert bound.causes[0].startswith("a CPU quota stops the client")


@pytest.mark.slow
def test_the_same_run_without_a_quota_blames_none(url: str, tmp_path: Path) -> None:
    verdict = verdict_of(url, tmp_path / "healthy.vllmperf", None)
    assert "throttled" not in [one["name"] for one in verdict["findings"]]
