"""scripts/sweep_strategies.py with real Ray Serve and its routers, before a small application in the place of a model.

$VLLMPERF_RAY: a virtual environment with ray[serve]; scripts/test-ray makes one.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from test_strategies_runs import SCRIPT, read, run, words  # noqa: F401 a fixture

RAY = Path(os.environ.get("VLLMPERF_RAY", "no Ray"))
PREFIX = "ray.llm._internal.serve.routing_policies.prefix_aware.prefix_aware_router:PrefixCacheAffinityRouter"
"""The class itself: its public name wants vLLM to be installed."""

if not (RAY / "bin" / "serve").exists():
    pytest.skip(
        "set VLLMPERF_RAY to an environment with ray[serve], as scripts/test-ray does",
        allow_module_level=True,
    )


@pytest.fixture
def serve(words, model, tmp_path, monkeypatch):  # noqa: F811
    """The arguments of a sweep over a small Ray on its own ports."""
    monkeypatch.setenv("PATH", f"{RAY / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    few = {"ray_actor_options": {"num_cpus": 0.1}, "max_ongoing_requests": 100}
    own = {
        "name": "Model",
        "num_replicas": 2,
        "request_router_config": {"request_router_class": "any"},
        **few,
    }
    app = {"name": "small", "route_prefix": "/", "import_path": "ray_app:build"}
    config = {"applications": [{**app, "deployments": [own, {"name": "Ingress", **few}]}]}
    (tmp_path / "small.yaml").write_text(json.dumps(config))
    arguments = "--num-cpus=4 --num-gpus=0 --object-store-memory=100000000"
    mine = {"server-command": "ray", "serve-config": "small.yaml", "ray-arguments": arguments}
    mine |= {"model-name": "tiny", "tokenizer": model, "ready-timeout": 600, "request-rate": 50}
    return [*words, *(f"--{name}={value}" for name, value in mine.items())]


def test_both_routers_of_ray_are_measured_and_nothing_is_left(serve, tmp_path):
    strategies = ("--scheduler-strategies-dict", "pow_of_2=pow2", f"prefix_aware={PREFIX}")
    code, out, errors = run(tmp_path, *serve, *strategies)
    assert code == 0, errors
    assert [row["completed"] for row in read(tmp_path, "serve")[1]] == ["40", "40"]
    for row in read(tmp_path, "vllm")[1]:
        assert float(row["request_success_total"]) == 41, out
        assert float(row["generation_tokens_total"]) > 400
        assert row["time_to_first_token_seconds"] == ""  # Ray has no sums
    assert out.count("time_to_first_token_seconds 0.01 to 0.1") == 2
    assert "Requests by replica: " in out
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in left
