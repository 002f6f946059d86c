"""The plan in a run file, of any version: as a Plan, and by name for those who read the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllmperf.plan import PART_OF, Plan

OLD_NAMES = {
    "duration_s": "duration",
    "connect_timeout_s": "connect_timeout",
    "first_token_timeout_s": "first_token_timeout",
    "stall_timeout_s": "stall_timeout",
    "total_timeout_s": "total_timeout",
    "grace_period_s": "grace_period",
}
"""Of settings in files of versions 1 and 2, which hold them all by name."""
HIDDEN = "***"


def described(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the plan and facts beside it, by name."""
    plan, facts = meta.get("plan") or {}, meta.get("facts") or {}
    if not _has_parts(plan):
        return {**{OLD_NAMES.get(name, name): value for name, value in plan.items()}, **facts}
    parts = [members for members in plan.values() if isinstance(members, Mapping)]
    return {name: value for members in [*parts, facts] for name, value in members.items()}


def plan_of(meta: Mapping[str, Any]) -> Plan:
    """The plan itself, to be made again. Raises UsageError when the file does not hold a whole one."""
    plan = meta.get("plan") or {}
    return Plan.from_dict(plan if _has_parts(plan) else _parts_of(described(meta)))


def _has_parts(plan: Mapping[str, Any]) -> bool:
    return isinstance(plan.get("target"), Mapping)


def _parts_of(old: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {part: {} for part in PART_OF.values()}
    for name, value in {**old, **(old.get("sampling") or {})}.items():
        if name in PART_OF:
            found[PART_OF[name]][name] = value
    target = found["target"]
    target["headers"] = {name: text for name, text in target.get("headers", {}).items() if text != HIDDEN}
    if target.get("simulator") is not None:
        target.pop("base_url", None)  # a dummy that stood there
    return found
