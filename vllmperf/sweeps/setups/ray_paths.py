"""Which way a request takes through Ray Serve 2.60, by the variables that all of Ray's processes read when they start."""

from __future__ import annotations

from collections.abc import Mapping

HAPROXY, STREAMING = "RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING"

DATA_PATHS: Mapping[str, Mapping[str, str]] = {
    "proxy": {HAPROXY: "0", STREAMING: "0"},
    "haproxy": {HAPROXY: "1", STREAMING: "0"},
    # Without the body, routers that look at prompts would see empty ones.
    "direct": {HAPROXY: "1", STREAMING: "1", "RAY_SERVE_INGRESS_REQUEST_ROUTER_FORWARD_BODY": "1"},
}
"""proxy: Serve's proxy, ingress, replica. haproxy: HAProxy, ingress, replica. direct: HAProxy, which asks the router, then
replica."""

HAPROXY_PORTS = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT")
"""Of HAProxy's own counts: by default the same for every Ray of a machine, and the second HAProxy does not start."""
