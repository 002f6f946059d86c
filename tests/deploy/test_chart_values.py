"""Values of the Helm chart that are wrong, or odd: each is refused in words that say which, or makes manifests that hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import parts  # noqa: F401 scripts/test-parts finds the files with real programs by it
import pytest
import yaml
from chart import CHART, containers, helm, objects, rendered, sets

MAY_BE_NULL = {
    *("tensorParallelSize", "maxNumBatchedTokens", "maxModelLen", "numSchedulerSteps"),
    *("enableChunkedPrefill", "seed", "count"),
}
DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("replicaCount=0",), "at '/replicaCount': minimum: got 0, want 1"),
        (("replicaCount=two",), "at '/replicaCount': got string, want integer"),
        (("replicaCount=null",), "at '': missing property 'replicaCount'"),
        (("vllm=null",), "at '': missing property 'vllm'"),
        (("vllm.image.tag=null",), "at '/vllm/image': missing property 'tag'"),
        (("replicas=3",), "additional properties 'replicas' not allowed"),
        (("vllm.maxmodellen=3",), "additional properties 'maxmodellen' not allowed"),
        (("servedModel=",), "at '/servedModel': '' does not match pattern"),
        (("servedModel=../secrets",), "at '/servedModel': '../secrets' does not match pattern"),
        (("servedModel=a/../../b",), "at '/servedModel': 'a/../../b' does not match pattern"),
        (("servedModel=/model-storage/a",), "at '/servedModel': '/model-storage/a' does not match pattern"),
        (("servedModel=my model",), "at '/servedModel': 'my model' does not match pattern"),
        (("servedModel=runs",), 'servedModel "runs" would lie in the folder of the generator\'s own runs'),
        (("servedModel=app/x",), 'servedModel "app/x" would lie in the folder of the generator\'s own app'),
        (("results.bucket=s3://runs",), "at '/results/bucket': 's3://runs' does not match pattern"),
        (("loadGenerator.port=99999",), "at '/loadGenerator/port': maximum: got 99,999, want 65,535"),
        (("loadGenerator.port=8000",), "vllm.port and loadGenerator.port are both 8000"),
        (("loadGenerator.data.size=big",), "at '/loadGenerator/data/size': 'big' does not match pattern"),
        (
            ("loadGenerator.extraEnv[0].name=A", "loadGenerator.extraEnv[0].value=1"),
            "got number, want string",
        ),
        (("vllm.image.pullPolicy=Sometimes",), "must be one of 'Always', 'IfNotPresent', 'Never'"),
        ((f"vllm.image.repository=vllm@{DIGEST}",), "at '/vllm/image/repository': 'vllm@sha256:"),
        (("vllm.image.tag=latest",), 'vllm.image.tag "latest" does not say which version of vLLM it is'),
        (("securityContext.runAsUser=0",), "at '/securityContext/runAsUser': minimum: got 0, want 1"),
        (("vllm.enabled=false",), "vllm.enabled is false: set target.host"),
        (("vllm.enabled=false", "target.host=a:9000"), "at '/target/host': 'a:9000' does not match pattern"),
        (("target.host=a",), "target.host is the server of vllm.enabled=false"),
        (("results.directory=a",), "results.directory needs results.bucket"),
        (("results.accessKeyId=a",), "results.accessKeyId and results.secretAccessKey belong together"),
        (("results.secretAccessKey=a",), "results.accessKeyId and results.secretAccessKey belong together"),
        (
            ("results.existingSecret=s", "results.accessKeyId=a", "results.secretAccessKey=b"),
            "give results.existingSecret or results.accessKeyId, not both",
        ),
        (("hfToken=a", "hfTokenSecret.name=b"), "give hfToken or hfTokenSecret.name, not both"),
        (("hfTokenSecret.name=My_Secret",), "at '/hfTokenSecret/name': 'My_Secret' does not match pattern"),
        (("modelStorage.enabled=false", "modelStorage.download=true"), "modelStorage.download needs"),
        (
            ("aggregate=true",),
            "aggregate splits a load over replicas: set replicaCount to 2 or more (it is 1)",
        ),
        (("aggregate=yes",), "at '/aggregate': got string, want boolean"),
        (("aggregateDiscovery=etcd",), "at '/aggregateDiscovery': value must be one of 'dns', 'api'"),
        (("podLabels.team=7",), "at '/podLabels/team': got number, want string"),
        ((r"podLabels.app\.kubernetes\.io/name=x",), "invalid propertyName 'app.kubernetes.io/name'"),
        (("nodeSelector.gpu=true",), "at '/nodeSelector/gpu': got boolean, want string"),
    ],
)
def test_a_bad_value_is_refused_by_name(values: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, *sets(*values))


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ({"num_prompts": 0}, "at '/benchmarkSpecs/0/num_prompts': minimum: got 0, want 1"),
        ({"request_rate": "fast"}, "at '/benchmarkSpecs/0/request_rate'"),
        ({"num_promts": 3}, "at '/benchmarkSpecs/0': additional properties 'num_promts' not allowed"),
        ({"duration": "1h"}, "at '/benchmarkSpecs/0': additional properties 'duration' not allowed"),
        ({"stress": True, "duraton": "1h"}, "additional properties 'duraton' not allowed"),
        ("1000 prompts", "at '/benchmarkSpecs/0': got string, want object"),
        ({"kind": "soak"}, "at '/benchmarkSpecs/0/kind': value must be one of 'start-load', 'bench'"),
        ({"kind": "bench"}, "at '/benchmarkSpecs/0': missing property 'plan'"),
        ({"kind": "bench", "plan": {"rate": 3}}, "at '/benchmarkSpecs/0/plan': additional properties 'rate'"),
    ],
)
def test_a_bad_load_is_refused_by_its_key(load: Any, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, "--set-json", f"benchmarkSpecs={json.dumps([load])}")


@pytest.mark.parametrize(
    ("load", "kind"),
    [
        ({"kind": "fit", "fit": {}}, "fit"),
        ({"stress": True}, "stress run"),
        ({"kind": "stress", "stress": {}}, "stress"),
    ],
)
def test_aggregate_refuses_loads_that_are_not_split(load: Any, kind: str, tmp_path: Path) -> None:
    words = [
        "--set-json",
        f"benchmarkSpecs={json.dumps([{}, load])}",
        *sets("aggregate=true", "replicaCount=2"),
    ]
    assert f"benchmarkSpecs[1] is a {kind}, which is not split over replicas" in refusal(tmp_path, *words)


@pytest.mark.parametrize(
    "load",
    [
        {"num-prompts": 3, "stress": False},
        {"stress": True, "duration": "1h", "sonnet_input_len": 5},
        {"kind": "start-load", "label": "a", "goodput": {"ttft": 200}},
        {"kind": "bench", "plan": {"num_prompts": 3, "random_input_len": 8}},
        {"kind": "fit", "fit": {"budget": 60}},
    ],
)
def test_a_load_that_the_service_takes_is_taken(load: dict[str, Any], tmp_path: Path) -> None:
    rendered(tmp_path, "--set-json", f"benchmarkSpecs={json.dumps([load])}")


def test_no_loads_need_no_file_of_them(tmp_path: Path) -> None:
    found = objects(rendered(tmp_path, "--set-json", "benchmarkSpecs=[]"))
    assert not [name for name in found if name.startswith("ConfigMap/")]
    assert not [word for word in containers(found)["load-generator"]["args"] if "--specs" in word]


def test_every_value_has_a_schema_and_must_be_there_unless_null_means_something() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    _same(schema, values)


def _same(schema: dict[str, Any], values: dict[str, Any]) -> None:
    assert schema["properties"].keys() - {"global"} == values.keys()
    assert set(schema["required"]) == values.keys() - MAY_BE_NULL
    for name, value in values.items():
        if isinstance(value, dict) and "properties" in schema["properties"][name]:
            _same(schema["properties"][name], value)


@pytest.mark.parametrize("name", ["a.b", "1e3", "12", "a" * 53, f"{'a' * 43}.{'b' * 9}", "my-vllmperf"])
def test_names_of_objects_hold_for_every_name_of_a_release(name: str, tmp_path: Path) -> None:
    """A Service's: a DNS label that begins with a letter; a Job's becomes a label of at most 63 characters."""
    text = rendered(tmp_path, *sets("aggregate=true", "replicaCount=2"), release=name)
    for one in yaml.safe_load_all(text):
        own = one["metadata"]["name"]
        assert len(own) <= 63
        assert own.replace("-", "").isalnum()
        assert own[0].isalpha()
        assert not own.endswith("-")
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == name


def test_texts_that_look_like_something_else_stay_texts(tmp_path: Path) -> None:
    secret = "loadGenerator.token.existingSecret=1e3"
    found = objects(
        rendered(tmp_path, *sets("vllm.image.tag=0.9.0"), "--set-string", f"servedModel=1.0,{secret}")
    )
    server, generator = (containers(found)[name] for name in ("vllm", "load-generator"))
    assert server["image"] == "vllm/vllm-openai:0.9.0"
    names = {one["name"]: one for one in generator["env"]}
    assert names["VLLMPERF_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "1e3"
    assert "1.0" in [one.get("subPath") for one in generator["volumeMounts"]]


def test_an_image_can_be_held_by_its_digest(tmp_path: Path) -> None:
    found = objects(rendered(tmp_path, *sets(f"vllm.image.tag=v0.9.0@{DIGEST}")))
    server = containers(found)["vllm"]
    assert server["image"] == f"vllm/vllm-openai:v0.9.0@{DIGEST}"
    assert "--no-enable-chunked-prefill" in server["args"]


def refusal(folder: Path, *words: str) -> str:
    done = helm(folder, "template", "bench", str(CHART), "--kube-version", "1.33", *words)
    assert done.returncode != 0
    return done.stderr
