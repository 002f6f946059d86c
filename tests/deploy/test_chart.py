"""The Helm chart without a cluster: lint, what it renders, what its schema refuses."""

from __future__ import annotations

import os
from pathlib import Path

import parts  # noqa: F401 scripts/test-parts finds the files with real programs by it
import pytest
import yaml
from chart import CASES, CHART, SPLIT, containers, helm, objects, rendered, sets

GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = (
    "--model=/model-storage/meta-llama/Llama-3.1-405B-Instruct-FP8",
    "--served-model-name=meta-llama/Llama-3.1-405B-Instruct-FP8",
    "--tensor-parallel-size=8",
    "--max-num-batched-tokens=16384",
    "--max-model-len=16384",
    "--num-scheduler-steps=16",
    "--enable-chunked-prefill=False",
    "--seed=42",
)
"""The server's arguments in the README of the chart that ours replaces."""


def test_helm_lint_finds_nothing(tmp_path: Path) -> None:
    done = helm(tmp_path, "lint", "--strict", str(CHART), "--kube-version", "1.33")
    assert done.returncode == 0, done.stdout
    assert "0 chart(s) failed" in done.stdout


@pytest.mark.parametrize("name", CASES)
def test_the_manifests_are_the_golden_ones(name: str, tmp_path: Path) -> None:
    """After a change that is meant: GOLDEN=write scripts/test-parts"""
    text = rendered(tmp_path, *sets(*CASES[name]))
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_the_server_gets_the_arguments_of_the_document(tmp_path: Path) -> None:
    assert tuple(containers(objects(rendered(tmp_path)))["vllm"]["args"]) == DOCUMENT


def test_the_document_command_makes_a_secret_of_the_token(tmp_path: Path) -> None:
    found = objects(rendered(tmp_path, *sets("hfToken=hf_example")))
    assert found["Secret/bench-vllmperf-hf"]["data"] == {"HF_TOKEN": "aGZfZXhhbXBsZQ=="}


def test_a_load_gets_host_port_and_model_where_it_gives_none(tmp_path: Path) -> None:
    own = [f"benchmarkSpecs[1].{value}" for value in ("host=elsewhere", "port=1", "model=m")]
    found = objects(rendered(tmp_path, *sets("benchmarkSpecs[0].num_prompts=5", *own)))
    specs = yaml.safe_load(found["ConfigMap/bench-vllmperf-specs"]["data"]["specs.yaml"])
    first, second = specs["benchmarkSpecs"]
    assert (first["host"], first["port"]) == ("localhost", 8000)
    assert first["model"] == "meta-llama/Llama-3.1-405B-Instruct-FP8"
    assert (second["host"], second["port"], second["model"]) == ("elsewhere", 1, "m")


@pytest.mark.parametrize("kind", [[], ["benchmarkSpecs[0].kind=start-load"]])
def test_a_server_at_an_ipv6_address_is_what_loads_and_generator_take(
    kind: list[str], tmp_path: Path
) -> None:
    at = ("vllm.enabled=false", "target.host=[fd00::1]", "target.port=80", "benchmarkSpecs[0].num_prompts=5")
    found = objects(rendered(tmp_path, *sets(*at, *kind)))
    assert "--allow-target=[fd00::1]:80" in containers(found)["load-generator"]["args"]
    specs = yaml.safe_load(found["ConfigMap/bench-vllmperf-specs"]["data"]["specs.yaml"])
    (load,) = specs["benchmarkSpecs"]
    assert (load["host"], load["port"]) == ("fd00::1", 80)


def test_a_payload_without_a_tokenizer_finds_it_under_the_name_of_the_model(tmp_path: Path) -> None:
    name = "mistralai/Mistral-7B-v0.1"
    mounts = containers(objects(rendered(tmp_path, *sets(f"servedModel={name}"))))["load-generator"][
        "volumeMounts"
    ]
    found = next(one for one in mounts if one["name"] == "model-storage")
    assert (found["mountPath"], found["subPath"], found["readOnly"]) == (f"/data/{name}", name, True)


@pytest.mark.parametrize(
    ("tag", "version", "steps", "prefill"),
    [
        ("v0.5.4", "", False, "--enable-chunked-prefill=False"),
        ("v0.5.5", "", True, "--enable-chunked-prefill=False"),
        ("v0.8.4", "", True, "--enable-chunked-prefill=False"),
        ("v0.8.5.post1", "", True, "--no-enable-chunked-prefill"),
        ("v0.10.0", "", True, "--no-enable-chunked-prefill"),
        ("v0.10.1.1", "", False, "--no-enable-chunked-prefill"),
        ("nightly", "0.32.0", False, "--no-enable-chunked-prefill"),
        ("v0.32.0-x86_64", "", False, "--no-enable-chunked-prefill"),
    ],
)
def test_the_server_gets_flags_that_its_version_knows(
    tag: str, version: str, steps: bool, prefill: str, tmp_path: Path
) -> None:
    values = sets(f"vllm.image.tag={tag}", f"vllm.version={version}")
    args = containers(objects(rendered(tmp_path, *values)))["vllm"]["args"]
    assert ("--num-scheduler-steps=16" in args) == steps
    assert prefill in args


def test_every_container_runs_with_least_rights(tmp_path: Path) -> None:
    found = objects(rendered(tmp_path, *sets("modelStorage.download=true")))
    pod = found["StatefulSet/bench-vllmperf"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for one in containers(found).values():
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert one["resources"]["limits"], one["name"]


def test_only_aggregate_by_the_api_gives_a_right_and_that_is_to_list_pods(tmp_path: Path) -> None:
    for given in ((), SPLIT):
        plain = objects(rendered(tmp_path, *sets(*given)))
        assert not [name for name in plain if name.startswith(("Role/", "RoleBinding/"))]
    found = objects(rendered(tmp_path, *sets(*SPLIT, "aggregateDiscovery=api")))
    assert found["Role/bench-vllmperf-aggregate"]["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    ]


def test_aggregate_finds_the_pods_by_the_name_of_their_headless_service(tmp_path: Path) -> None:
    found = objects(rendered(tmp_path, *sets(*SPLIT)))
    pod = next(one for name, one in found.items() if name.startswith("Job/"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "--dns=bench-vllmperf-pods.default.svc" in container["args"]
    assert pod["automountServiceAccountToken"] is False
    service = found["Service/bench-vllmperf-pods"]["spec"]
    assert service["clusterIP"] == "None"
    assert not service.get("publishNotReadyAddresses")


def test_a_job_of_aggregate_has_a_new_name_when_its_loads_change(tmp_path: Path) -> None:
    def job(*values: str) -> str:
        found = objects(rendered(tmp_path, *sets(*SPLIT, *values)))
        return next(name for name in found if name.startswith("Job/"))

    assert job() == job("loadGenerator.queueLimit=3")
    assert job() != job("benchmarkSpecs[0].num_prompts=7")


def test_prometheus_and_grafana_get_the_files_of_deploy(tmp_path: Path) -> None:
    found = objects(rendered(tmp_path, *sets("monitoring.prometheusRule=true", "monitoring.dashboards=true")))
    rules = yaml.safe_load((CHART.parents[1] / "prometheus/rules.yaml").read_text(encoding="utf-8"))
    assert found["PrometheusRule/bench-vllmperf"]["spec"] == rules["spec"]
    for path in (CHART.parents[1] / "grafana").glob("*.json"):
        config = found[f"ConfigMap/bench-{path.stem}"]
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert config["data"][path.name] == path.read_text(encoding="utf-8")
