"""The columns of the old files against starts whose truth is known: logs that the simulator wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllmperf.formats.startup_txt import LAYOUTS, row
from vllmperf.sim.startup_log import VERSIONS, StartupScript, write
from vllmperf.starts.log.parse import as_start, parse

BEGAN_NS = 1_767_225_590_000_000_000  # ten seconds before New Year 2026, UTC
SCRIPT = {
    "imports": 4.0,
    "config": 3.0,
    "engine_process": 2.0,
    "worker_init": 1.0,
    "weights_download": 17.0,
    "weights_load": 7.0,
    "model_finish": 0.0,
    "dynamo": 5.0,
    "compile": 20.0,
    "graph_capture": 23.0,
    "engine_finish": 0.0,
    "frontend": 2.0,
    "weights_gib": 4.72,
    "engine": "V1",
}


def cells(
    tmp_path: Path, version: str, envelope: str, tz: str = "UTC", **changes: object
) -> dict[str, float]:
    path = tmp_path / "server.log"
    path.write_bytes(write(StartupScript(version=version, **{**SCRIPT, **changes}), BEGAN_NS, tz, envelope))
    start = as_start(parse(path, year=2025))
    names = LAYOUTS["D-offline"].names
    return dict(zip(names, map(float, row(start, "D-offline").split("\t")), strict=True))


@pytest.mark.parametrize("envelope", ["none", "kubectl"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_row_is_what_the_server_did_over_new_year(tmp_path: Path, version: str, envelope: str) -> None:
    found = cells(tmp_path, version, envelope)
    within = 0.2 if envelope == "kubectl" else 2  # two stamps of whole seconds
    assert found["engine_init_s"] == pytest.approx(6, abs=within)
    assert found["weights_load_s"] == pytest.approx(7, abs=within)
    assert found["api_readiness_s"] == pytest.approx(2, abs=within)
    assert found["weights_download_s"] == pytest.approx(17, abs=0.01)
    assert found["weights_gib"] == 4.72
    assert found["torch_compile_s"] == pytest.approx(25, abs=0.2)
    assert found["graph_capture_s"] == 23


def test_the_zone_of_the_log_changes_no_value(tmp_path: Path) -> None:
    assert cells(tmp_path, "0.11", "none", "US/Pacific") == cells(tmp_path, "0.11", "none", "UTC")


def test_with_several_ranks_the_slowest_fills_the_row(tmp_path: Path) -> None:
    found = cells(tmp_path, "0.11", "kubectl", tp=4, spread=0.5)
    assert found["weights_load_s"] == pytest.approx(7, abs=0.5)
    assert found["graph_capture_s"] == 23
