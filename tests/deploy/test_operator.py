"""Objects for the Prometheus operator: against the schemas of its own definitions, and against what they select."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import parts
import pytest
import yaml
from chart import CHART, containers, objects, rendered, sets

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")

KINDS = ("PodMonitor", "ServiceMonitor", "PrometheusRule")
ALL = [f"monitoring.{kind[0].lower()}{kind[1:]}=true" for kind in KINDS]
CASES = {
    "a server in each pod": (),
    "a server elsewhere": ("vllm.enabled=false", "target.host=vllm.models.svc"),
    "own labels and token": (
        "monitoring.labels.release=prometheus",
        "loadGenerator.token.existingSecret=api",
    ),
}


def errors(found: dict[str, Any]) -> list[str]:
    """What the API server would say of an object of the operator."""
    name = f"monitoring.coreos.com_{found['kind'].lower()}s.yaml"
    text = (parts.folder("operator") / name).read_text(encoding="utf-8")
    version = next(one for one in yaml.safe_load(text)["spec"]["versions"] if one["storage"])
    validator = jsonschema.Draft4Validator(strict(version["schema"]["openAPIV3Schema"]))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(found)]


def strict(schema: Any) -> Any:
    """Without room for fields that the schema does not know."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(one) for name, one in schema.items()}
    is_open = "additionalProperties" in found or found.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(found.get("properties"), dict) and not is_open:
        found["additionalProperties"] = False
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_objects_are_what_the_operator_defines(case: str, tmp_path: Path) -> None:
    found = objects(rendered(tmp_path, *sets(*ALL, *CASES[case])))
    for kind in KINDS:
        one = found[f"{kind}/bench-vllmperf"]
        assert errors(one) == []
        assert errors({**one, "spec": {**one["spec"], "misspelled": 1}}) != []


def test_the_rules_of_deploy_are_what_the_operator_defines() -> None:
    text = (CHART.parents[1] / "prometheus/rules.yaml").read_text(encoding="utf-8")
    assert errors(yaml.safe_load(text)) == []


def test_the_monitors_select_the_pods_once_and_name_ports_that_are_there(tmp_path: Path) -> None:
    found = objects(rendered(tmp_path, *sets(*ALL)))
    pods = found["StatefulSet/bench-vllmperf"]["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for one in containers(found).values() for port in one.get("ports", ())}
    monitor = found["PodMonitor/bench-vllmperf"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= pods.items()
    assert {one["port"] for one in monitor["podMetricsEndpoints"]} == ports

    monitor = found["ServiceMonitor/bench-vllmperf"]["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    services = [one for name, one in found.items() if name.startswith("Service/")]
    (selected,) = [one for one in services if wanted <= one["metadata"]["labels"].items()]
    assert selected["metadata"]["name"] == "bench-vllmperf-pods"
    assert {one["port"] for one in monitor["endpoints"]} == {one["name"] for one in selected["spec"]["ports"]}
