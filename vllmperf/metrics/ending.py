"""Why a run gave up before its end; None for one that did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from vllmperf.numbers import percent, plural
from vllmperf.plan.limits import WINDOW


class Ending(TypedDict):
    """reason: "max_errors", "max_error_rate", "server_lost" when it did not come back in time, "run_file" when that could not
    be written. words: the same in a sentence."""

    reason: str
    words: str


def ending(plan: Mapping[str, Any], counters: Mapping[str, Any]) -> Ending | None:
    """plan: the run's settings by name. counters: what the run file has of the engine's."""
    reason = counters.get("gave_up")
    return None if reason is None else {"reason": reason, "words": WORDS[reason](plan, counters)}


def _errors(plan: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    most = plan["max_errors"]
    return f"{plural(most, 'request')} had failed (--max-errors {most})"


def _error_rate(plan: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    rate = plan["max_error_rate"]
    return f"of the last {WINDOW} requests {percent(rate)} or more had failed (--max-error-rate {rate:g})"


def _run_file(_: Mapping[str, Any], counters: Mapping[str, Any]) -> str:
    lost = plural(int(counters.get("unwritten") or 0), "finished request")
    return f"the run file could not be written ({counters.get('write_error')}) and lacks {lost}"


def _server_lost(plan: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    return f"the server was lost and did not come back in time (--on-server-loss {plan['on_server_loss']})"


WORDS = {
    "max_errors": _errors,
    "max_error_rate": _error_rate,
    "run_file": _run_file,
    "server_lost": _server_lost,
}
