"""Real programs that tests run beside vllmperf: an S3 server, Prometheus, Helm, a browser. Where one is missing the test is
skipped, and says so.

VLLMPERF_PARTS names a folder with bin/helm, bin/versitygw, prom/usr/bin/prometheus, prom/usr/bin/promtool and
grafana/node_modules (scripts/parts fills it); what is not in it is looked for in the PATH. Set but empty, as in the main stage
of scripts/test: none, scripts/test-parts runs these tests.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def program(name: str) -> str:
    """The path of a program; skips the test when there is none."""
    parts = os.environ.get("VLLMPERF_PARTS")
    if parts == "":
        pytest.skip(f"tests with {name} are those of scripts/test-parts (VLLMPERF_PARTS is empty)")
    places = [Path(parts, "bin"), Path(parts, "prom/usr/bin")] if parts else []
    found = next((str(place / name) for place in places if (place / name).is_file()), None) or shutil.which(
        name
    )
    if found is None:
        pytest.skip(f"{name} is not installed here (VLLMPERF_PARTS)")
    return found


def folder(name: str) -> Path:
    """A folder of VLLMPERF_PARTS; skips the test when there is none."""
    parts = os.environ.get("VLLMPERF_PARTS")
    if not parts or not Path(parts, name).is_dir():
        pytest.skip(f"{name} is not installed here (VLLMPERF_PARTS)")
    return Path(parts, name)
