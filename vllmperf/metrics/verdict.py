"""Whether a run's numbers may be trusted: each rule once, with its thresholds, on the numbers of
the summary."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vllmperf.metrics import rules
from vllmperf.metrics.rules import Summary

LEVELS = ("trusted", "caution", "untrusted")
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Rule:
    """Above `caution` the run needs a second look, above `untrusted` its numbers say more of the client than
    of the server. `measure` gives the value, or None where the rule does not apply; `say` tells a person."""

    name: str
    measure: Callable[[Summary], float | None]
    caution: float
    untrusted: float
    say: Callable[[Summary, float], str]


# Thresholds are shares of 1; rules that are a yes or no measure 1 or 0.
RULES = (
    Rule("nothing_completed", rules.nothing_completed, 0, 0, rules.say_nothing_completed),
    Rule("killed", rules.killed, 0, NEVER, rules.say_killed),
    Rule("still_running", rules.still_running, 0, NEVER, rules.say_still_running),
    Rule("interrupted", rules.interrupted, 0, NEVER, rules.say_interrupted),
    Rule("client_sums", rules.broken_client_sums, 0, 0, rules.say_client_sums),
    Rule("server_sums", rules.broken_server_sums, 0, NEVER, rules.say_server_sums),
    Rule("failed", rules.failed_share, 0.01, 0.2, rules.say_failed),
    Rule("incomplete", rules.incomplete_share, 0.05, 0.5, rules.say_incomplete),
    Rule("client_lag", rules.client_lag, 0.5, 5.0, rules.say_client_lag),
    Rule("loop", rules.loop_time, 1.0, 10.0, rules.say_loop_time),
    Rule("schedule_lag", rules.schedule_lag, 0.05, 0.5, rules.say_schedule_lag),
    Rule("slot_wait", rules.slot_wait, 0.05, NEVER, rules.say_slot_wait),
    Rule("in_flight", rules.missing_in_flight, 0.02, 0.2, rules.say_missing_in_flight),
    Rule("coalesced", rules.shared_gaps, 0.05, 0.5, rules.say_shared_gaps),
    Rule("kernel_stamps", rules.no_kernel_stamps, 0, NEVER, rules.say_no_kernel_stamps),
    Rule("retries", rules.silent_retries, 0, 0.05, rules.say_silent_retries),
    Rule("token_source", rules.counted_by_chunks, 0, NEVER, rules.say_counted_by_chunks),
    Rule("few_samples", rules.few_samples, 0, NEVER, rules.say_few_samples),
)


def verdict(summary: Summary) -> dict[str, Any]:
    """{"level": "trusted" | "caution" | "untrusted", "reasons": [sentences]}, worst reasons first."""
    found = [finding for rule in RULES if (finding := _apply(rule, summary))]
    found.sort(key=lambda finding: -finding[0])
    return {"level": LEVELS[found[0][0] if found else 0], "reasons": [sentence for _, sentence in found]}


def _apply(rule: Rule, summary: Summary) -> tuple[int, str] | None:
    value = rule.measure(summary)
    if value is None or value <= rule.caution:
        return None
    return (2 if value > rule.untrusted else 1), rule.say(summary, value)
