"""The Serve configuration of a strategy, as Ray 2.60 wants it.

The guide's set-up of 2025 had `replica_scheduler` in the source and autoscaling bounds; now `request_router_config` names
the router of a deployment. imbalanced_threshold is always written: its default has been infinite since December 2025, and
was 10 before.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vllmperf.dropin.strategies.routers import router
from vllmperf.errors import UsageError

CPU = ("cpu", "none", "")
KEY = "request_router_config"


def serve_config(args: argparse.Namespace, strategy: str, port: int) -> dict[str, Any]:
    """For build_openai_app, or that of --serve-config with this router and port. Raises UsageError."""
    routing = _routing(args, args.scheduler_strategies_dict[strategy])
    http = {"host": args.host, "port": port}
    if args.serve_config:
        return _given(args.serve_config, routing, http)
    llm = {
        "model_loading_config": {"model_id": args.model_name, "model_source": args.model_name},
        **_hardware(args.gpu_type),
        "engine_kwargs": {
            "enable_prefix_caching": args.enable_prefix_caching,
            "enable_chunked_prefill": args.enable_chunked_prefill,
        },
        "deployment_config": {"num_replicas": args.num_servers, KEY: routing},
    }
    application = {
        "name": "llm_app",
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [llm]},
    }
    return {"http_options": http, "applications": [application]}


def yaml_text(config: dict[str, Any]) -> str:
    """As YAML, which JSON is but for infinity."""
    return json.dumps(config, indent=2).replace(": Infinity", ": .inf") + "\n"


def _routing(args: argparse.Namespace, given: str) -> dict[str, Any]:
    meant = router(given)
    if meant.ray is None:
        raise UsageError(
            f"Ray Serve has no router {given}: choose another one, or --server-command simulator"
        )
    found: dict[str, Any] = {"request_router_class": meant.ray}
    if meant.has_thresholds:
        found["request_router_kwargs"] = {
            "imbalanced_threshold": args.imbalanced_threshold,
            "match_rate_threshold": args.match_rate_threshold,
        }
    return found


def _hardware(gpu_type: str) -> dict[str, Any]:
    """Without a GPU Ray must be told so, else each replica waits for one."""
    return (
        {"accelerator_config": {"kind": "cpu"}} if gpu_type.lower() in CPU else {"accelerator_type": gpu_type}
    )


def _given(path: str, routing: dict[str, Any], http: dict[str, Any]) -> dict[str, Any]:
    """A configuration of the user's: the router goes to each deployment that has one."""
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"--serve-config {path} cannot be read: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("applications"), list):
        raise UsageError(f"--serve-config {path} has no list of applications")
    places = list(_places(found["applications"]))
    if not places:
        raise UsageError(
            f"--serve-config {path}: no deployment has a {KEY}; write one where strategies belong"
        )
    for place in places:
        thresholds = {
            **place[KEY].get("request_router_kwargs", {}),
            **routing.get("request_router_kwargs", {}),
        }
        place[KEY] = copy.deepcopy(routing)
        if "request_router_kwargs" in routing:
            place[KEY]["request_router_kwargs"] = thresholds
    return {**found, "http_options": {**found.get("http_options", {}), **http}}


def _places(applications: Any) -> Iterator[dict[str, Any]]:
    """All objects that have a router, however deep they stand."""
    if isinstance(applications, dict):
        if isinstance(applications.get(KEY), dict):
            yield applications
        for value in applications.values():
            yield from _places(value)
    elif isinstance(applications, list):
        for value in applications:
            yield from _places(value)
