"""Real Ray Serve for tests: where it is, and the small application that they load instead of a model (dropin/ray_app.py).

VLLMPERF_RAY names a virtual environment with ray[serve]; scripts/test-ray makes one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

RAY = Path(os.environ.get("VLLMPERF_RAY", "no Ray"))
PATH = f"{RAY / 'bin'}{os.pathsep}{os.environ['PATH']}"
PREFIX_ROUTER = (
    "ray.llm._internal.serve.routing_policies.prefix_aware.prefix_aware_router:PrefixCacheAffinityRouter"
)
"""The class itself: its public name wants vLLM to be installed."""
ARGUMENTS = "--num-cpus=4 --num-gpus=0 --object-store-memory=100000000"
"""Of a small Ray."""


def skip_without_ray() -> None:
    """For the top of a module of tests."""
    if not (RAY / "bin" / "serve").exists():
        pytest.skip(
            "set VLLMPERF_RAY to an environment with ray[serve], as scripts/test-ray does",
            allow_module_level=True,
        )


SMALL = {"name": "small", "route_prefix": "/", "import_path": "ray_app:build"}
FEW = {"ray_actor_options": {"num_cpus": 0.1}, "max_ongoing_requests": 100}
MODEL = {"num_replicas": 2, "request_router_config": {"request_router_class": "any"}, **FEW}


def applications() -> list[dict[str, Any]]:
    """Of a Serve configuration: two replicas behind a router, written at the deployments."""
    deployments = [{"name": "Model", **MODEL}, {"name": "Ingress", **FEW}]
    return [{**SMALL, "deployments": deployments}]


def built() -> list[dict[str, Any]]:
    """The same by arguments of the application, which chooses its deployments by the data path as Serve LLM does."""
    return [{**SMALL, "args": {"model": MODEL}}]
