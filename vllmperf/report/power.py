"""Power and drift of a run in words. Of the summary alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllmperf.metrics.trend import words as trend_words
from vllmperf.numbers import brief, clean, number, percent, plural

KINDS = {"dcgm": "DCGM", "prometheus": "Prometheus", "file": "a file"}


def facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(("power", "4.90 kW in all, …"), ("energy", …), ("", "87 % of …"), ("drift", …), …)"""
    found = summary.get("power")
    pairs = [] if not found else [("power", _drawn(found)), ("energy", _energy(found))]
    if found and found["share_of_limit"] is not None:
        pairs.append(("power limit", _share(found, summary["plan"])))
    lines = [trend_words(one) for one in summary.get("drift") or ()]
    return [*pairs, *(("drift" if i == 0 else "", line) for i, line in enumerate(lines))]


def _drawn(found: Mapping[str, Any]) -> str:
    """4.90 kW on average, 5.47 kW at most; a GPU 612 W on average, 701 W at most (8 GPUs, by DCGM)"""
    kind = KINDS.get(clean(found["source"]).partition("=")[0], "")
    whole = f"{_watts(found['mean_w'])} on average, {_watts(found['max_w'])} at most"
    if len(found["gpus"]) == 1:
        return f"{whole} ({clean(found['gpus'][0]['gpu'])}, by {kind})"
    one = f"a GPU {_watts(found['mean_w_per_gpu'])} on average, {_watts(found['max_w_per_gpu'])} at most"
    return f"{whole}; {one} ({plural(len(found['gpus']), 'GPU')}, by {kind})"


def _energy(found: Mapping[str, Any]) -> str:
    """204 J an output token, 0.80 J a token in and out, 408 J a request"""
    parts = (
        ("j_per_output_token", "an output token"),
        ("j_per_token", "a token in and out"),
        ("j_per_request", "a request"),
    )
    told = [f"{brief(found[key])} J {of}" for key, of in parts if found[key] is not None]
    return ", ".join([*told, f"{brief(found['energy_j'] / 3.6e6)} kWh in all"])


def _share(found: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """62 % of 700 W a GPU: not near it. The rate may rise by 1.6 to 1.8 times, …"""
    share = f"{percent(found['share_of_limit'])} of {_watts(found['limit_w_per_gpu'])} a GPU"
    rise = found["rate_may_rise_by"]
    if rise is None:
        return share
    low, high = min(rise), max(rise)
    times = brief(low) if brief(low) == brief(high) else f"{brief(low)} to {brief(high)}"
    try:
        rate = float(plan.get("request_rate") or "inf")
        about = f", to about {number(low * rate)} requests/s first" if rate < float("inf") else ""
    except ValueError:
        about = ""
    idle = "" if found["idle_w"] is None else " above idle"
    return (
        f"{share}: not near it. If power{idle} grew in proportion to the rate, the limit would be at {times} times this rate"
        f"{about}. It grows more slowly near the limit: raise the rate in steps"
    )


def _watts(watts: float) -> str:
    return f"{watts / 1000:.2f} kW" if watts >= 1000 else f"{brief(watts)} W"
