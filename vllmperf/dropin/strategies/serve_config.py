"""The Serve configuration of a strategy, as Ray 2.60 wants it.

The guide's set-up of 2025 had `replica_scheduler` in the source and autoscaling bounds; now `request_router_config` names
the router of a deployment.
"""

from __future__ import annotations

import argparse
from typing import Any

from vllmperf.sweeps.setups.ray_config import KEY
from vllmperf.sweeps.setups.ray_serve import RayServe

CPU = ("cpu", "none", "")


def ray_settings(args: argparse.Namespace, strategy: str) -> dict[str, Any]:
    """The settings of a set-up `ray_serve`: that of --serve-config or of build_openai_app, with the router."""
    return {
        "ray_serve": args.serve_config or _of_llm(args),
        "router": args.scheduler_strategies_dict[strategy],
        "imbalanced_threshold": args.imbalanced_threshold,
        "match_rate_threshold": args.match_rate_threshold,
        "host": args.host,
    }


def serve_config(args: argparse.Namespace, strategy: str, port: int) -> dict[str, Any]:
    """What Serve is given. Raises UsageError."""
    return RayServe(**ray_settings(args, strategy)).config(port)


def _of_llm(args: argparse.Namespace) -> dict[str, Any]:
    llm = {
        "model_loading_config": {"model_id": args.model_name, "model_source": args.model_name},
        **_hardware(args.gpu_type),
        "engine_kwargs": {
            "enable_prefix_caching": args.enable_prefix_caching,
            "enable_chunked_prefill": args.enable_chunked_prefill,
        },
        "deployment_config": {"num_replicas": args.num_servers, KEY: {}},
    }
    application = {
        "name": "llm_app",
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [llm]},
    }
    return {"applications": [application]}


def _hardware(gpu_type: str) -> dict[str, Any]:
    """Without a GPU Ray must be told so, else each replica waits for one."""
    return (
        {"accelerator_config": {"kind": "cpu"}} if gpu_type.lower() in CPU else {"accelerator_type": gpu_type}
    )
