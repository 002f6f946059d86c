"""benchmarkSpecs of a values file: in their order, once, with what is wrong said before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from serving import Service, payload

from vllmperf.errors import UsageError
from vllmperf.service.specs import read_specs
from vllmperf.sim import Server

pytest.importorskip("fastapi", reason="the extra service is not installed")


def written(path: Path, specs: object) -> Path:
    path.write_text(json.dumps({"replicaCount": 1, "benchmarkSpecs": specs}))  # JSON is YAML
    return path


@pytest.mark.slow
def test_the_runs_of_a_values_file_go_in_their_order_and_once(
    data: Path, tmp_path: Path, simulator: Server
) -> None:
    plan = {"base_url": simulator.url, "max_concurrency": 1, "num_prompts": 2, "output_len": 2}
    specs = [payload(simulator, num_prompts=3), {"kind": "bench", "label": "second", "plan": plan}]
    values = written(tmp_path / "values.yaml", specs)
    with Service(data, "--specs", str(values)) as service:
        second, first = service.get("/runs").json()["runs"]
        assert (first["kind"], second["label"]) == ("start-load", "second")
        assert service.ended(second["id"])["phase"] == "finished"
        assert service.run(second["id"])["started_at"] >= service.run(first["id"])["ended_at"]
        assert (
            f"; next: {second['id']} (bench, second, 2 prompts, to {simulator.url})"
            in service.log.read_text()
        )
    with Service(data, "--specs", str(values)) as service:
        assert len(service.get("/runs").json()["runs"]) == 2
    written(values, [*specs, payload(simulator, num_prompts=4)])
    with Service(data, "--specs", str(values)) as service:
        assert len(service.get("/runs").json()["runs"]) == 3


def test_one_run_needs_no_list(tmp_path: Path, simulator: Server) -> None:
    assert len(read_specs(written(tmp_path / "values.yaml", payload(simulator)))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "benchmarkSpecs: [{model: m, num_prompts: x}]",
            r"benchmarkSpecs\[0\]: num_prompts: invalid int value",
        ),
        ("benchmarkSpecs: [{model: m}, {kind: bench}]", r"benchmarkSpecs\[1\]: plan must be an object"),
        ("benchmarkSpecs: [5]", r"benchmarkSpecs\[0\]: the body must be a JSON object"),
        ("benchmarkSpecs: 5", "has no benchmarkSpecs: give a list"),
        ("other: 5", "has no benchmarkSpecs: give a list"),
        ("benchmarkSpecs: [", "cannot be read"),
    ],
)
def test_what_is_wrong_in_a_values_file_is_said_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_specs(path)


def test_a_values_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_specs(tmp_path / "none.yaml")
