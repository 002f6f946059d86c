"""Which tests are slow; a model folder of our own, and a port for whoever needs one before its server is there."""

from __future__ import annotations

import os
import random
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

sys.path.append(str(Path(__file__).parent))  # tests/twins

for size in ("COLUMNS", "LINES"):  # pytest-xdist gives its workers a terminal's size, and they have none
    os.environ.pop(size, None)

# Files whose tests take seconds of CPU, or wait for runs of seconds: `scripts/test --quick` leaves them out.
SLOW = {
    *(
        "test_golden_bench",
        "test_golden_sglang",
        "test_golden_llm_bench",
        "test_notebooks",
        "test_interrupted_kernel",
        "test_soak",
    ),
    *("test_real_server", "test_output", "test_service_uploads"),
    *("test_parse_shared", "test_parse_time", "test_roundtrip"),
    *("test_bench_runs", "test_llm_bench_runs", "test_datasets_native", "test_hub"),
    *("test_guidellm_runs", "test_guidellm_requests", "test_guidellm_failures"),
    *("test_page", "test_page_real", "test_alerts", "test_dashboards", "test_grafana"),
    *("test_aggregate", "test_restart", "test_strategies_runs", "test_odd_answers_to_dropins"),
    *("test_batching_replay", "test_capacity", "test_commands", "test_crosschecks", "test_other_engines"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def port() -> int:
    """A port of 127.0.0.1 where nobody listens: below those from which the system takes the ports of connections, so
    that no test beside this one gets it."""
    while True:
        found = random.randrange(12_000, 32_000)
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", found)):
                return found


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A model folder with tokenizer.json, tokenizer_config.json and a chat template."""
    for package in ("tokenizers", "jinja2"):
        pytest.importorskip(package, reason="the extra tokenizers is not installed")
    from twins import model_folder

    folder = tmp_path_factory.mktemp("model")
    model_folder.make(folder)
    return folder


@pytest.fixture(scope="session")
def tokens(model):
    from vllmperf.tokenizer.tokens import Tokens

    return Tokens(str(model))
