"""The Serve configuration of a strategy, as Ray 2.60 wants it.

The guide's set-up of 2025 had `replica_scheduler` in the source and autoscaling bounds; now `request_router_config` names
the router of a deployment.
"""

from __future__ import annotations

import argparse
from typing import Any

from vllmperf.sweeps.setups.ray_config import KEY, routing, with_port, with_router
from vllmperf.sweeps.setups.ray_serve import serve_config as read

CPU = ("cpu", "none", "")


def serve_config(args: argparse.Namespace, strategy: str, port: int) -> dict[str, Any]:
    """For build_openai_app, or that of --serve-config with this router and port. Raises UsageError."""
    given = args.scheduler_strategies_dict[strategy]
    chosen = routing(given, args.imbalanced_threshold, args.match_rate_threshold)
    if args.serve_config:
        found = with_router(read("--serve-config", args.serve_config), chosen)
        return with_port(found, args.host, port)
    llm = {
        "model_loading_config": {"model_id": args.model_name, "model_source": args.model_name},
        **_hardware(args.gpu_type),
        "engine_kwargs": {
            "enable_prefix_caching": args.enable_prefix_caching,
            "enable_chunked_prefill": args.enable_chunked_prefill,
        },
        "deployment_config": {"num_replicas": args.num_servers, KEY: chosen},
    }
    application = {
        "name": "llm_app",
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [llm]},
    }
    return with_port({"applications": [application]}, args.host, port)


def _hardware(gpu_type: str) -> dict[str, Any]:
    """Without a GPU Ray must be told so, else each replica waits for one."""
    return (
        {"accelerator_config": {"kind": "cpu"}} if gpu_type.lower() in CPU else {"accelerator_type": gpu_type}
    )
