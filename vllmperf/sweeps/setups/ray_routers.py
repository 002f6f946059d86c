"""Routing strategies: what the guide called them in 2025, what Ray Serve and our simulator call them now."""

from __future__ import annotations

from typing import NamedTuple


class Router(NamedTuple):
    """A router. ray: its class in Ray 2.60, None where there is none; sim: its name in `vllmperf sim`; has_thresholds: it
    takes imbalanced_threshold and match_rate_threshold."""

    ray: str | None
    sim: str
    has_thresholds: bool = False


POW2 = Router("ray.serve._private.request_router:PowerOfTwoChoicesRequestRouter", "pow2")
PREFIX_AWARE = Router("ray.serve.llm.request_router.PrefixCacheAffinityRouter", "prefix_aware", True)
ROUND_ROBIN = Router("ray.serve.experimental.round_robin_router:RoundRobinRouter", "round_robin")
SESSION = Router("ray.serve.experimental.consistent_hash_router:ConsistentHashRouter", "session")
LEAST_LOADED = Router(None, "least_loaded")

NAMES = {
    "pow2": POW2,
    "pow_2": POW2,
    "pow_of_2": POW2,
    "prefix_aware": PREFIX_AWARE,
    "round_robin": ROUND_ROBIN,
    "session": SESSION,
    "consistent_hash": SESSION,
    "least_loaded": LEAST_LOADED,
}
CLASSES = {
    "PowerOfTwoChoicesReplicaScheduler": POW2,
    "PowerOfTwoChoicesRequestRouter": POW2,
    "PrefixAwareReplicaScheduler": PREFIX_AWARE,
    "PrefixAwareRequestRouter": PREFIX_AWARE,
    "PrefixCacheAffinityRouter": PREFIX_AWARE,
    "RoundRobinReplicaScheduler": ROUND_ROBIN,
    "RoundRobinRouter": ROUND_ROBIN,
    "ConsistentHashRouter": SESSION,
}
"""The last part of a class's path, of 2025 and of today."""
NOT_OF_TODAY = ("ReplicaScheduler", "PrefixAwareRequestRouter")
"""How classes end that Ray 2.60 has no more."""


def router(given: str) -> Router:
    """The router that is meant. A class of your own stays as it is; so does one of Ray's own that it still has."""
    name = given.replace(":", ".").rpartition(".")[2]
    known = NAMES.get(given) or CLASSES.get(name)
    if known is None:
        return Router(given, given)
    is_path = "." in given.replace("...", "")  # the guide abbreviates
    return known if not is_path or name.endswith(NOT_OF_TODAY) else known._replace(ray=given)
