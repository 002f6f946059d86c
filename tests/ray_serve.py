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


def applications() -> list[dict[str, Any]]:
    """Of a Serve configuration: two replicas behind a router."""
    few = {"ray_actor_options": {"num_cpus": 0.1}, "max_ongoing_requests": 100}
    router = {"request_router_class": "any"}
    model = {"name": "Model", "num_replicas": 2, "request_router_config": router, **few}
    deployments = [model, {"name": "Ingress", **few}]
    return [
        {"name": "small", "route_prefix": "/", "import_path": "ray_app:build", "deployments": deployments}
    ]
