"""scripts/sweep_strategies.py with real Ray Serve and its routers, before a small application in the place of a model."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import ray_serve
from test_strategies_runs import SCRIPT, read, run, words  # noqa: F401 a fixture

ray_serve.skip_without_ray()


@pytest.fixture
def serve(words, model, tmp_path, monkeypatch):  # noqa: F811
    """The arguments of a sweep over a small Ray on its own ports."""
    monkeypatch.setenv("PATH", ray_serve.PATH)
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    (tmp_path / "small.yaml").write_text(json.dumps({"applications": ray_serve.applications()}))
    mine = {"server-command": "ray", "serve-config": "small.yaml", "ray-arguments": ray_serve.ARGUMENTS}
    mine |= {"model-name": "tiny", "tokenizer": model, "ready-timeout": 600, "request-rate": 50}
    return [*words, *(f"--{name}={value}" for name, value in mine.items())]


def test_both_routers_of_ray_are_measured_and_nothing_is_left(serve, tmp_path):
    strategies = ("--scheduler-strategies-dict", "pow_of_2=pow2", f"prefix_aware={ray_serve.PREFIX_ROUTER}")
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
