"""Load in the spelling of guidellm 0.7: --profile, --constraint, --override, --seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vllmperf.dropin.guidellm import pairs
from vllmperf.dropin.guidellm.pairs import Pairs
from vllmperf.dropin.guidellm.profiles import RATE_TYPES
from vllmperf.dropin.guidellm.values import choice, rates, seconds, seed, whole
from vllmperf.errors import UsageError

Flags = dict[str, Any]
GIVEN_UP = "a run is given up after 1000 failed requests in a row: leave it out"
AT_ONCE = "load begins at once: leave it out, or cut the start off by --warmup-percent"
FIND = "vllmperf capacity finds the rate that the server keeps up with"
PROFILE = {
    "streams": "rate",
    "rate": "rate",
    "sweep_size": "rate",
    "max_concurrency": "max_concurrency",
    "strategy_type": "swept",
    "warmup": "warmup_percent",
    "cooldown": "cooldown_percent",
}
"""What `--profile kind=…` may hold, and the flag that it stands for."""
CONSTRAINTS = {"max_duration": ("seconds", "max_seconds"), "max_requests": ("count", "max_requests")}
"""Kinds of `--constraint kind=…`: their key, and the flag that it stands for."""
CONSTRAINTS_REFUSED = {
    "max_errors": GIVEN_UP,
    "max_error_rate": GIVEN_UP,
    "max_global_error_rate": GIVEN_UP,
    "over_saturation": FIND,
    "min_requests": "write kind=max_requests: all of them are waited for",
}


def profile(text: str) -> Flags:
    """--profile: the rate type, and what goes with it. Raises UsageError by name."""
    given = pairs.read("profile", text)
    kind = pairs.kind_of("profile", given, RATE_TYPES)
    if str(given.pop("rampup_duration", 0)) not in ("0", "0.0", "None"):
        raise UsageError(f"guidellm: --profile: rampup_duration is not here: {AT_ONCE}")
    pairs.only("profile", given, PROFILE)
    found: Flags = {"rate_type": kind}
    for name, value in given.items():
        to = PROFILE[name]
        found[to] = pairs.value("profile", _PROFILE_READERS[to], value)
    return found


def _transient(text: str) -> float:
    """warmup and cooldown: a share, or {"percent": share}."""
    found = pairs.plain(text)
    if isinstance(found, dict) and str(found.get("mode", "prefer")).startswith("prefer"):
        found = found.get("percent")
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1:
        raise ValueError("warmup and cooldown as shares of the limit, from 0 to below 1: 2 s of 60 are 0.033")
    return float(found)


_PROFILE_READERS: dict[str, Callable[[str], Any]] = {
    "rate": rates,
    "max_concurrency": whole,
    "swept": choice("constant", "poisson"),
    "warmup_percent": lambda text: _transient(text) or None,
    "cooldown_percent": lambda text: _transient(text) or None,
}


def constraints(texts: Sequence[str]) -> Flags:
    """--constraint, once or more. Raises UsageError by name."""
    found: Flags = {}
    for text in texts:
        found |= _constraint(pairs.read("constraint", text))
    return found


def _constraint(given: Pairs) -> Flags:
    if (kind := str(given.get("kind", ""))) in CONSTRAINTS_REFUSED:
        raise UsageError(f"guidellm: --constraint: kind {kind} is not here: {CONSTRAINTS_REFUSED[kind]}")
    pairs.kind_of("constraint", given, CONSTRAINTS)
    key, flag = CONSTRAINTS[kind]
    value = given.pop(key, given.pop(kind, None))
    if given or value is None:
        raise UsageError(f"guidellm: --constraint: write kind={kind},{key}=NUMBER")
    return {flag: pairs.value("constraint", seconds if flag == "max_seconds" else whole, value)}


def overrides(given: Sequence[Sequence[str]]) -> Flags:
    """--override NAME VALUES: several rates or numbers of streams, a benchmark each."""
    found: Flags = {}
    for name, values in given:
        if name not in ("profile.streams", "profile.rate"):
            raise UsageError(
                f"guidellm: --override {name} is not here; there are profile.streams and profile.rate"
            )
        found["rate"] = pairs.value("override", rates, values)
    return found


def seeds(text: str) -> Flags:
    """--seed kind=static,value=42, or the number alone."""
    given = pairs.read("seed", text) if "=" in text or "{" in text else {"value": text}
    if given.pop("kind", "static") != "static" or set(given) != {"value"}:
        raise UsageError("guidellm: --seed: write kind=static,value=NUMBER")
    return {"random_seed": pairs.value("seed", seed, given["value"])}
