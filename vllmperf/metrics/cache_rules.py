"""The verdict's rule of the server's prefix cache: its measure and its words."""

from vllmperf.metrics.rules import Summary
from vllmperf.numbers import percent

NEAR = 0.05
"""A rate that the prompts allow is the one asked for when it is no farther from it than this."""


def off_hit_rate(summary: Summary) -> float | None:
    found = summary.get("prefix_cache")
    if not found or found["asked"] is None or found["seen"] is None:
        return None
    return abs(float(found["seen"]) - float(found["asked"]))


def say_off_hit_rate(summary: Summary, _: float) -> str:
    found = summary["prefix_cache"]
    asked, seen, allowed = (percent(found[name] or 0.0) for name in ("asked", "seen", "allowed"))
    return (
        f"the server found {seen} of the prompt tokens in its prefix cache where {asked} were asked for and the prompts allow "
        f"{allowed}: {_why(found)}"
    )


def _why(found: Summary) -> str:
    if abs((found["allowed"] or 0.0) - found["asked"]) > NEAR:
        return "blocks are whole, so take longer prompts, or a rate that they allow"
    if found["seen"] > found["asked"]:
        more = (
            "" if found["was_reset"] else " (it could not be emptied before: POST /reset_prefix_cache failed)"
        )
        return f"the cache held more than the common prefixes{more}"
    return "prefixes were in the cache of another replica, or the cache is off, too small, or used by others"
