"""The headers of a plan's requests. Apart from ask.py, which needs a client that costs a run 20 ms to import."""

from __future__ import annotations

from vllmperf.plan import Plan


def headers(plan: Plan) -> dict[str, str]:
    """What every request to this target carries."""
    usual = {"Content-Type": "application/json", "User-Agent": "vllmperf"}
    if plan.api_key:
        usual["Authorization"] = f"Bearer {plan.api_key}"
    own = {name.lower() for name in plan.headers}
    return {**{name: value for name, value in usual.items() if name.lower() not in own}, **plan.headers}
