"""Whether a run's numbers may be trusted: each rule once, with its thresholds, on the numbers of the summary."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Summary = Mapping[str, Any]

LEVELS = ("trusted", "caution", "untrusted")

ENOUGH_FOR_P99 = 100
"""With fewer samples p99 lies between the two largest: it is the luck of one request."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Above `caution` the run needs a second look, above `untrusted` its numbers say more of the client than of the
    server. `measure` gives the value, or None when the rule does not apply; `sentence` says it to a person."""

    name: str
    measure: Callable[[Summary], float | None]
    caution: float
    untrusted: float
    sentence: Callable[[Summary, float], str]


def verdict(summary: Summary) -> dict[str, Any]:
    """{"level": "trusted" | "caution" | "untrusted", "reasons": [sentences]}, worst reasons first."""
    found = [finding for rule in RULES if (finding := _apply(rule, summary))]
    found.sort(key=lambda finding: -finding[0])
    return {"level": LEVELS[found[0][0] if found else 0], "reasons": [sentence for _, sentence in found]}


def _apply(rule: Rule, summary: Summary) -> tuple[int, str] | None:
    value = rule.measure(summary)
    if value is None or value <= rule.caution:
        return None
    return (2 if value > rule.untrusted else 1), rule.sentence(summary, value)


# ---- what the rules look at ----


def _metric(summary: Summary, key: str, statistic: str) -> float | None:
    row = summary["metrics"].get(key)
    return None if row is None else row[statistic]


def _client(summary: Summary, key: str, statistic: str) -> float | None:
    row = summary["client"].get(key)
    return None if row is None else row[statistic]


def _ratio(value: float | None, scale: float | None) -> float | None:
    return None if value is None or not scale else value / scale


def _typical_gap(summary: Summary) -> tuple[str, float | None]:
    """What the client's lag is held against: a gap between tokens, or the whole latency where there are none."""
    for key, name in (("itl_ms", "ITL"), ("ttft_ms", "TTFT"), ("e2el_ms", "latency")):
        if (value := _metric(summary, key, "p50")) is not None:
            return name, value
    return "latency", None


def _typical_start(summary: Summary) -> tuple[str, float | None]:
    for key, name in (("ttft_ms", "TTFT"), ("e2el_ms", "latency")):
        if (value := _metric(summary, key, "p50")) is not None:
            return name, value
    return "latency", None


def _nothing_completed(summary: Summary) -> float | None:
    return 0.0 if summary["requests"]["completed"] else 1.0


def _failed(summary: Summary) -> int:
    outcomes = summary["requests"]["outcomes"]
    return sum(outcomes.values()) - outcomes.get("completed", 0) - outcomes.get("incomplete", 0)


def _ended(summary: Summary) -> int:
    return sum(summary["requests"]["outcomes"].values())


def _if_any_completed(share: float, summary: Summary) -> float | None:
    return share if summary["requests"]["completed"] else None


def _failed_share(summary: Summary) -> float | None:
    return _if_any_completed(_failed(summary) / max(_ended(summary), 1), summary)


def _incomplete_share(summary: Summary) -> float | None:
    cut_off = summary["requests"]["outcomes"].get("incomplete", 0)
    return _if_any_completed(cut_off / max(_ended(summary), 1), summary)


def _missing_in_flight(summary: Summary) -> float | None:
    """By how much of what was asked the in-flight count fell short while there was still something to send."""
    in_flight, sent = summary["in_flight"], summary["requests"]["sent"]
    if not in_flight["asked"] or in_flight["mean_sending"] is None or summary["open_loop"]:
        return None
    if sent <= in_flight["asked"]:  # all leave at once: there is no time in which the count is held
        return None
    return 1 - float(in_flight["mean_sending"]) / float(in_flight["asked"])


def _few_samples(summary: Summary) -> float | None:
    completed: int = summary["requests"]["completed"]
    return None if completed == 0 else float(completed < ENOUGH_FOR_P99)


def _counted_by_chunks(summary: Summary) -> float | None:
    sources = summary["tokens"]["sources"]
    return sources.get("chunks", 0) / max(sum(sources.values()), 1)


def _broken_identities(summary: Summary) -> float | None:
    """1 when the server's own figures disagree, 2 when ours do."""
    blamed = {check["blames"] for check in summary["identities"].values() if check["broken"]}
    return 2.0 if "client" in blamed else float(len(blamed))


# ---- what the rules say ----


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g} ms"


def _requests(count: int) -> str:
    return f"{count:,} request" if count == 1 else f"{count:,} requests"


def _say_killed(summary: Summary, _: float) -> str:
    return (
        f"this run was killed: {_requests(_ended(summary))} {'was' if _ended(summary) == 1 else 'were'} recorded; "
        f"those in flight are lost"
    )


def _say_failed(summary: Summary, share: float) -> str:
    return (
        f"{_failed(summary):,} of {_requests(_ended(summary))} ({share:.1%}) failed: "
        f"the latencies are of those that were served"
    )


def _say_client_lag(summary: Summary, share: float) -> str:
    name, value = _typical_gap(summary)
    return (
        f"the client saw chunks up to {_ms(_client(summary, 'client_lag_ms', 'p99'))} (p99) after they had arrived, "
        f"{share:.0%} of the typical {name} ({_ms(value)}): it hardly kept up"
    )


def _say_schedule_lag(summary: Summary, share: float) -> str:
    name, value = _typical_start(summary)
    return (
        f"requests left up to {_ms(_client(summary, 'schedule_lag_ms', 'p99'))} (p99) late, "
        f"{share:.0%} of the typical {name} ({_ms(value)}): the load was not quite the one asked for"
    )


def _say_loop(summary: Summary, share: float) -> str:
    name, value = _typical_gap(summary)
    return (
        f"a turn of the client's loop took up to {_ms(_client(summary, 'loop_ms', 'p99'))} (p99), "
        f"{share:.0%} of the typical {name} ({_ms(value)})"
    )


def _say_in_flight(summary: Summary, share: float) -> str:
    in_flight = summary["in_flight"]
    return (
        f"{in_flight['mean_sending']:.1f} requests were in flight on average while {in_flight['asked']:,} were asked for "
        f"({share:.1%} fewer)"
    )


def _say_identities(summary: Summary, _: float) -> str:
    broken = [check for check in summary["identities"].values() if check["broken"]]
    return "sums that must agree do not: " + "; ".join(
        f"{check['statement']}, broken in {check['broken']:,} of {check['checked']:,}" for check in broken
    )


RULES = (
    Rule("nothing_completed", _nothing_completed, 0.5, 0.5, lambda s, v: "no request completed: there is nothing to measure"),
    Rule("killed", lambda s: float(s["state"] == "killed"), 0.5, 1.0, _say_killed),
    Rule(
        "running", lambda s: float(s["state"] == "running"), 0.5, 1.0,
        lambda s, v: "this run is still going on: these are the requests that have finished so far",
    ),
    Rule(
        "interrupted", lambda s: float(s["state"] == "interrupted"), 0.5, 1.0,
        lambda s, v: f"the run was interrupted after {_requests(s['requests']['sent'])}",
    ),
    Rule("identities", _broken_identities, 0.5, 1.5, _say_identities),
    Rule("failed", _failed_share, 0.01, 0.2, _say_failed),
    Rule(
        "incomplete", _incomplete_share, 0.05, 0.5,
        lambda s, v: f"{v:.1%} of the requests were cut off at the end of the run: long ones are missing from the latencies",
    ),
    Rule("client_lag", lambda s: _ratio(_client(s, "client_lag_ms", "p99"), _typical_gap(s)[1]), 0.1, 1.0, _say_client_lag),
    Rule(
        "schedule_lag", lambda s: _ratio(_client(s, "schedule_lag_ms", "p99"), _typical_start(s)[1]), 0.05, 0.5,
        _say_schedule_lag,
    ),
    Rule("loop", lambda s: _ratio(_client(s, "loop_ms", "p99"), _typical_gap(s)[1]), 0.5, 5.0, _say_loop),
    Rule("in_flight", _missing_in_flight, 0.02, 0.2, _say_in_flight),
    Rule(
        "coalesced", lambda s: s["gaps"]["shared_share"], 0.05, 0.5,
        lambda s, v: (
            f"{v:.1%} of the gaps came in a read with others, so their split is unknown: "
            f"the mean of ITL is exact, its percentiles are of even shares"
        ),
    ),
    Rule(
        "retries", lambda s: _ratio(s["client"]["silent_retries"], s["requests"]["sent"]), 0, 0.05,
        lambda s, v: f"libcurl sent {s['client']['silent_retries']:,} requests again on a fresh connection: their TTFT holds a lost attempt",
    ),
    Rule(
        "token_source", _counted_by_chunks, 0, 1.0,
        lambda s, v: f"{v:.0%} of the answers came without usage: their tokens are counted by chunks, which may carry several",
    ),
    Rule(
        "few_samples", _few_samples, 0.5, 1.0,
        lambda s, v: f"only {_requests(s['requests']['completed'])} completed: p99 is next to the largest value, better take p90",
    ),
)
"""Every rule of the verdict. Thresholds are shares of 1, or 0 and 1 for yes and no."""
