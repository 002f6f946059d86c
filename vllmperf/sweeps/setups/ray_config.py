"""A Serve configuration for one router and one HTTP port, as Ray 2.60 wants it.

imbalanced_threshold is always written: its default has been infinite since December 2025, and was 10 before.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from vllmperf.errors import SettingError
from vllmperf.plan.json_object import JsonObject
from vllmperf.sweeps.setups.ray_routers import router

KEY = "request_router_config"
KWARGS = "request_router_kwargs"


def routing(given: str, imbalanced_threshold: float, match_rate_threshold: float) -> dict[str, Any]:
    """The request_router_config of a router's name or class. Raises SettingError for one that Ray does not have."""
    meant = router(given)
    if meant.ray is None:
        raise SettingError("Ray Serve has no router {given}: choose another one", given=given)
    found: dict[str, Any] = {"request_router_class": meant.ray}
    if meant.has_thresholds:
        found[KWARGS] = {
            "imbalanced_threshold": imbalanced_threshold,
            "match_rate_threshold": match_rate_threshold,
        }
    return found


def with_router(config: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with this router at each deployment that has one; further arguments of a prefix router stay.

    Raises SettingError when no deployment has one.
    """
    found = JsonObject(config).to_dict()
    places = list(_places(found.get("applications")))
    if not places:
        raise SettingError(
            "no deployment of the Serve configuration has a {key}: write one where the router belongs",
            key=KEY,
        )
    for place in places:
        before = place[KEY].get(KWARGS) or {}
        place[KEY] = copy.deepcopy(dict(chosen))
        if KWARGS in chosen:
            place[KEY][KWARGS] = {**before, **chosen[KWARGS]}
    return found


def with_port(config: Mapping[str, Any], host: str, port: int) -> dict[str, Any]:
    """The configuration with the address where the proxy listens."""
    return {**config, "http_options": {**(config.get("http_options") or {}), "host": host, "port": port}}


def yaml_text(config: Mapping[str, Any]) -> str:
    """As YAML, which JSON is but for infinity."""
    return json.dumps(config, indent=2).replace(": Infinity", ": .inf") + "\n"


def _places(part: Any) -> Iterator[dict[str, Any]]:
    """All objects that have a router, however deep they stand."""
    if isinstance(part, dict):
        if isinstance(part.get(KEY), dict):
            yield part
        for value in part.values():
            yield from _places(value)
    elif isinstance(part, list):
        for value in part:
            yield from _places(value)
