"""What the rules of the verdict measure in a summary, and how they say it.

Their thresholds stand in verdict.py.
"""

from collections.abc import Mapping
from typing import Any

from vllmperf.metrics.definitions import METRICS
from vllmperf.metrics.threads import late_words
from vllmperf.numbers import brief, number, percent

Summary = Mapping[str, Any]

MANY_TIMES = 10
"""From here on a share is told as so many times."""

EXACT_MEAN_UP_TO = 0.001
"""The mean of ITL is called exact when its gaps miss no more of their time than this share."""

NAMES = {metric.key: metric.short for metric in METRICS}

ENOUGH_FOR_P99 = 100
"""With fewer samples p99 lies between the two largest: it is the luck of one request."""


def _statistic(part: Mapping[str, Any], key: str, statistic: str) -> float | None:
    row = part.get(key)
    return None if row is None else float(row[statistic])


def _ratio(value: float | None, scale: float | None) -> float | None:
    return None if value is None or not scale else value / scale


def _typical(summary: Summary, *keys: str) -> float | None:
    """p50 of the first of these metrics that the run has."""
    return next(
        (p50 for key in keys if (p50 := _statistic(summary["metrics"], key, "p50")) is not None), None
    )


def _typical_gap(summary: Summary) -> float | None:
    """What the client's own delays are held against: a gap between tokens, or a latency where
    there is none."""
    return _typical(summary, "itl_ms", "ttft_ms", "e2el_ms")


def _typical_start(summary: Summary) -> float | None:
    return _typical(summary, "ttft_ms", "e2el_ms")


def _ended(summary: Summary) -> int:
    return sum(summary["requests"]["outcomes"].values())


def _failed(summary: Summary) -> int:
    outcomes = summary["requests"]["outcomes"]
    return _ended(summary) - int(outcomes.get("completed", 0)) - int(outcomes.get("incomplete", 0))


def _share_if_any_completed(count: int, summary: Summary) -> float | None:
    return count / _ended(summary) if summary["requests"]["completed"] else None


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{brief(value)} ms"


def _p99(part: Mapping[str, Any], key: str) -> str:
    return _ms(_statistic(part, key, "p99"))


def _of_typical_gap(summary: Summary, share: float) -> str:
    names = {"itl_ms": "gap between tokens", "ttft_ms": "TTFT"}
    name = next((name for key, name in names.items() if summary["metrics"].get(key)), "latency")
    part = f"{share:,.0f} times" if share >= MANY_TIMES else f"{percent(share)} of"
    return f"{part} the typical {name} ({_ms(_typical_gap(summary))})"


def _requests(count: int) -> str:
    return f"{count:,} request" if count == 1 else f"{count:,} requests"


# ---- the run as a whole ----


def nothing_completed(summary: Summary) -> float:
    return float(summary["requests"]["completed"] == 0)


def say_nothing_completed(_summary: Summary, _: float) -> str:
    return "no request completed: there is nothing to measure"


def killed(summary: Summary) -> float:
    return float(summary["state"] == "killed")


def say_killed(summary: Summary, _: float) -> str:
    was = "was" if _ended(summary) == 1 else "were"
    return f"this run was killed: {_requests(_ended(summary))} {was} recorded; those in flight are lost"


def still_running(summary: Summary) -> float:
    return float(summary["state"] == "running")


def say_still_running(_summary: Summary, _: float) -> str:
    return "this run is still going on: these are the requests that have finished so far"


def interrupted(summary: Summary) -> float:
    return float(summary["state"] == "interrupted" and not summary.get("ending"))


def say_interrupted(summary: Summary, _: float) -> str:
    return f"this run was interrupted: {_requests(summary['requests']['sent'])} had been sent"


def gave_up(summary: Summary) -> float:
    return float(bool(summary.get("ending")))


def say_gave_up(summary: Summary, _: float) -> str:
    return f"this run gave up: {summary['ending']['words']}; {_requests(_ended(summary))} had been recorded"


def not_precise(summary: Summary) -> float | None:
    until = summary.get("until")
    return None if until is None else float(not until["reached"])


def say_not_precise(summary: Summary, _: float) -> str:
    until = summary["until"]
    asked = f"the run ended before {until['label']} was known to ±{until['percent_asked']:g} %"
    if until["value"] is None:
        return f"{asked}: it was not measured"
    if until["percent"] is None:
        needs = f", which takes about {number(until['needs'])} requests" if until.get("needs") else ""
        return f"{asked}: it is too short for an interval{needs}"
    return f"{asked}: it is known to ±{brief(until['percent'])} %"


def _broken(summary: Summary, blames: str) -> list[Mapping[str, Any]]:
    return [
        check for check in summary["identities"].values() if check["broken"] and check["blames"] == blames
    ]


def _say_broken(summary: Summary, blames: str) -> str:
    return "; ".join(
        f"“{check['statement']}” does not hold for {check['broken']:,} of {check['checked']:,}"
        for check in _broken(summary, blames)
    )


def broken_client_sums(summary: Summary) -> float:
    return float(len(_broken(summary, "client")))


def say_client_sums(summary: Summary, _: float) -> str:
    return f"vllmperf's own figures disagree, please report this: {_say_broken(summary, 'client')}"


def broken_server_sums(summary: Summary) -> float:
    return float(len(_broken(summary, "server")))


def say_server_sums(summary: Summary, _: float) -> str:
    return f"the server's figures disagree: {_say_broken(summary, 'server')}"


def failed_share(summary: Summary) -> float | None:
    return _share_if_any_completed(_failed(summary), summary)


def say_failed(summary: Summary, share: float) -> str:
    return (
        f"{_failed(summary):,} of {_requests(_ended(summary))} ({percent(share)}) failed: "
        f"the latencies are only of those that were served"
    )


def lost_results(summary: Summary) -> float | None:
    return _ratio(summary["client"]["lost_results"], summary["requests"]["sent"])


def say_lost_results(summary: Summary, _: float) -> str:
    return (
        f"the results of {_requests(summary['client']['lost_results'])} were lost because memory ran out: "
        "send fewer at a time, or give the client more memory"
    )


def incomplete_share(summary: Summary) -> float | None:
    return _share_if_any_completed(int(summary["requests"]["outcomes"].get("incomplete", 0)), summary)


def say_incomplete(_summary: Summary, share: float) -> str:
    return (
        f"{percent(share)} of the requests were cut off at the end: long ones are missing from the latencies"
    )


# ---- the client's own error ----


def client_lag(summary: Summary) -> float | None:
    return _ratio(_statistic(summary["client"], "client_lag_ms", "p99"), _typical_gap(summary))


def say_client_lag(summary: Summary, share: float) -> str:
    return (
        f"chunks were seen up to {_p99(summary['client'], 'client_lag_ms')} (p99) after they had "
        f"arrived, {_of_typical_gap(summary, share)}: the client hardly kept up"
        f"{late_words(summary['client'], 'client_lag_ms')}"
    )


def loop_time(summary: Summary) -> float | None:
    return _ratio(_statistic(summary["client"], "loop_ms", "p99"), _typical_gap(summary))


def say_loop_time(summary: Summary, share: float) -> str:
    return (
        f"a turn of the client's loop took up to {_p99(summary['client'], 'loop_ms')} (p99), "
        f"{_of_typical_gap(summary, share)}{late_words(summary['client'], 'loop_ms')}"
    )


def _in_open_loop(summary: Summary, wait_ms: float | None) -> float | None:
    """A wait held against the typical time to a first token. (In a closed loop nothing is ever late.)"""
    return _ratio(wait_ms, _typical_start(summary)) if summary["open_loop"] else None


def schedule_lag(summary: Summary) -> float | None:
    return _in_open_loop(summary, _statistic(summary["client"], "schedule_lag_ms", "p99"))


def say_schedule_lag(summary: Summary, share: float) -> str:
    return (
        f"requests left up to {_p99(summary['client'], 'schedule_lag_ms')} (p99) late, "
        f"{percent(share)} of the typical TTFT ({_ms(_typical_start(summary))}): "
        f"the load was not quite the one asked for{late_words(summary['client'], 'schedule_lag_ms')}"
    )


def slot_wait(summary: Summary) -> float | None:
    return _in_open_loop(summary, _statistic(summary["metrics"], "slot_wait_ms", "p99"))


def say_slot_wait(summary: Summary, _: float) -> str:
    return (
        f"due requests waited up to {_p99(summary['metrics'], 'slot_wait_ms')} (p99) for a free "
        f"slot: the concurrency limit, not the rate, shaped the load"
    )


def missing_in_flight(summary: Summary) -> float | None:
    """By what share the count in flight fell short of what was asked while there was still
    something to send."""
    in_flight = summary["in_flight"]
    if not in_flight["asked"] or in_flight["mean_sending"] is None or summary["open_loop"]:
        return None
    if not summary["requests"]["completed"]:  # what refuses at once is never in flight
        return None
    if summary["requests"]["sent"] <= in_flight["asked"]:  # all leave at once: there is no level to hold
        return None
    return 1 - float(in_flight["mean_sending"]) / float(in_flight["asked"])


def say_missing_in_flight(summary: Summary, share: float) -> str:
    in_flight = summary["in_flight"]
    return (
        f"{brief(in_flight['mean_sending'], 4)} requests were in flight on average while sending, "
        f"{percent(share)} fewer than the {in_flight['asked']:,} asked for"
    )


def shared_gaps(summary: Summary) -> float | None:
    share: float | None = summary["gaps"]["shared_share"]
    return share


def say_shared_gaps(summary: Summary, share: float) -> str:
    held_back, pieces = summary["answers"]["held_back"], summary["answers"]["one_piece"]
    one_piece = pieces["requests"] / pieces["of"] if pieces else 0.0
    # chunks of the first read borrow their time from those behind them
    is_known = held_back is not None and not held_back["is_lower_bound"]
    is_exact = is_known and max(held_back["gap_share"], one_piece) <= EXACT_MEAN_UP_TO
    mean = (
        "the mean of ITL is exact, its percentiles are not" if is_exact else "ITL's percentiles are not exact"
    )
    return (
        f"{percent(share)} of the gaps between chunks came in a read with others and are even shares: {mean}"
    )


def no_kernel_stamps(summary: Summary) -> float:
    return float(summary["plan"].get("kernel_stamps") is False)


def say_no_kernel_stamps(_summary: Summary, _: float) -> str:
    return "kernel stamps were off: chunks count from when the client saw them, however late that was"


def silent_retries(summary: Summary) -> float | None:
    return _ratio(summary["client"]["silent_retries"], summary["requests"]["sent"])


def say_silent_retries(summary: Summary, _: float) -> str:
    retries = summary["client"]["silent_retries"]
    return (
        f"{_requests(retries)} went out again on a fresh connection after the server had closed the old one: "
        f"their TTFT holds a lost attempt; --fresh-connections opens one for each request"
    )


# ---- the samples ----


def unsteady(summary: Summary) -> float:
    """Where no other rule says what moves."""
    is_told = any((summary[part] or {}).get("share") for part in ("growth", "still_faster"))
    return float(not is_told and summary["trim"] is not None and summary["trim"]["drift"] is not None)


def say_unsteady(summary: Summary, _: float) -> str:
    drift = summary["trim"]["drift"]
    first, second = (brief(drift[key]) for key in ("first_half", "second_half"))
    if drift["of"] == "in_flight":
        what = f"{first} requests were in flight in the first half of the run, {second} in the second"
    else:
        what = f"{NAMES[drift['of']]} was {first} ms in the first half of the run, {second} ms in the second"
    return f"{what}: it never settled, so that the figures depend on how long the run was"


def counted_by_chunks(summary: Summary) -> float:
    """Those without usage; what a usage was worth that was there is another rule's."""
    sources: Mapping[str, int] = summary["tokens"]["sources"]
    unused: int = (summary["answers"]["usage"] or {}).get("requests", 0)
    return max(sources.get("chunks", 0) - unused, 0) / max(sum(sources.values()), 1)


def say_counted_by_chunks(_summary: Summary, share: float) -> str:
    return f"{percent(share)} of the answers came without usage: their chunks were counted as tokens"


def few_samples(summary: Summary) -> float:
    return float(0 < summary["requests"]["completed"] < ENOUGH_FOR_P99)


def say_few_samples(summary: Summary, _: float) -> str:
    completed = _requests(summary["requests"]["completed"])
    return f"only {completed} completed: p99 is hardly more than the largest value"
