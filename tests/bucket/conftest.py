"""Credentials of a test's own, a real S3 server where one is installed, and a proxy with faults in front of it."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("boto3", reason="the extra s3 is not installed")

from faulty_proxy import FaultyProxy
from s3_server import ACCESS, SECRET, Server


@pytest.fixture(autouse=True)
def credentials(monkeypatch, tmp_path):
    """As in a pod: variables alone. No file of this machine's user is read, and no metadata service is asked."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "BENCHMARK_RESULTS_")):
            monkeypatch.delenv(name)
    given = {
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    none = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    for name, value in {**given, **none, "VLLMPERF_OUTBOX": str(tmp_path / "outbox")}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def server(tmp_path, port):
    made = Server(tmp_path / "s3", port)
    yield made
    made.stop()


@pytest.fixture
def proxy(server):
    with FaultyProxy(server.endpoint) as made:
        yield made
