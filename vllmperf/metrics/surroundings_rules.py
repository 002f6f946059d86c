"""The rules of the verdict that doubt what was around the run: the load, the machine, what the server itself counted.

Their thresholds stand in verdict.py.
"""

from typing import Any

from vllmperf.metrics.answer_rules import busy_front_end_ms
from vllmperf.metrics.rules import Summary, _ms, _ratio, _requests, _statistic, _typical_gap
from vllmperf.numbers import brief, duration, percent, plural


def _fact(summary: Summary, part: str, name: str) -> Any:
    """None where the recording does not tell, as those of older versions."""
    found = summary.get(part)
    return None if found is None else found.get(name)


def _number(summary: Summary, part: str, name: str) -> float | None:
    value = _fact(summary, part, name)
    return None if value is None else float(value)


# ---- the load ----

FEWEST_FOR_RATE = 50
"""Of fewer requests the rate is hardly known."""


def off_rate(summary: Summary) -> float | None:
    """How far the rate that was sent is from the one scheduled."""
    rates = summary["throughput"]
    if not rates.get("scheduled_per_s") or not rates.get("sent_per_s"):
        return None
    if summary["requests"]["sent"] < FEWEST_FOR_RATE:
        return None
    return abs(1 - float(rates["sent_per_s"]) / float(rates["scheduled_per_s"]))


def say_off_rate(summary: Summary, share: float) -> str:
    rates = summary["throughput"]
    return (
        f"{brief(rates['sent_per_s'], 4)} requests/s were sent where {brief(rates['scheduled_per_s'], 4)} were scheduled "
        f"({percent(share)} off): the figures are of the load that was sent"
    )


def growing(summary: Summary) -> float | None:
    return _number(summary, "growth", "share")


def say_growing(summary: Summary, share: float) -> str:
    growth = summary["growth"]
    what = "waiting for a first token" if growth["what"] == "waiting" else "in flight"
    return (
        f"the queue was still growing: from {brief(growth['first'])} to {brief(growth['last'])} requests {what} within "
        f"{duration(growth['to_s'] - growth['from_s'])}, {percent(share)} of those that came: the server does not carry "
        f"{brief(growth['per_s'])}/s, and the latencies say how long the run was; lower the rate, or let `vllmperf capacity` "
        "find the one that it carries"
    )


def still_warming(summary: Summary) -> float | None:
    return _number(summary, "still_faster", "share")


def say_still_warming(summary: Summary, share: float) -> str:
    found = summary["still_faster"]
    return (
        f"the server was still getting faster when the run ended: {str(found['metric']).upper()} fell by {percent(share)} from "
        f"the third quarter of the requests to the last ({_ms(found['before_ms'])} to {_ms(found['after_ms'])}, medians): "
        "warm it up for longer, or measure for longer"
    )


def connecting(summary: Summary) -> float | None:
    """The part of TTFT that is the opening of connections."""
    if summary["plan"].get("fresh_connections"):
        return None
    connect, ttft = summary["metrics"].get("connect_ms"), summary["metrics"].get("ttft_ms")
    if not connect or not ttft or not ttft["mean"]:
        return None
    return float(connect["mean"] * connect["n"]) / float(ttft["mean"] * ttft["n"])


def say_connecting(summary: Summary, share: float) -> str:
    connect = summary["metrics"]["connect_ms"]
    return (
        f"{_requests(connect['n'])} of {summary['requests']['sent']:,} opened a connection ({_ms(connect['mean'])} in the mean), "
        f"{percent(share)} of all TTFT: the server or a proxy closes connections between requests, or --warm-connections is too "
        "low"
    )


# ---- the machine ----


def stolen(summary: Summary) -> float | None:
    return _number(summary, "machine", "steal_share")


def say_stolen(_summary: Summary, share: float) -> str:
    return (
        f"the hypervisor gave {percent(share)} of this machine's CPU time to others (steal): every stamp may be late; measure "
        "from a machine with cores of its own"
    )


def throttled(summary: Summary) -> float | None:
    return _number(summary, "machine", "throttled_periods_share")


def say_throttled(summary: Summary, share: float) -> str:
    machine = summary["machine"]
    quota = machine.get("quota_cores")
    limit = f", a quota of {brief(quota)} cores," if quota else ""
    return (
        f"the client's control group{limit} stopped it in {percent(share)} of the periods, for "
        f"{duration(machine['throttled_s'])} of {duration(machine['seconds'])}: the client, not the server, was measured; "
        "raise its CPU limit (Kubernetes: resources.limits.cpu)"
    )


def clock_steps(summary: Summary) -> float | None:
    return _number(summary, "machine", "clock_steps")


def say_clock_steps(summary: Summary, steps: float) -> str:
    machine = summary["machine"]
    return (
        f"the wall clock was set {plural(int(steps), 'time')} during the run, by up to {_ms(machine['largest_clock_step_ms'])}: "
        "kernel stamps are converted from it, so chunks of that moment may be off by as much; let a time daemon slew the clock "
        "instead"
    )


def asleep(summary: Summary) -> float | None:
    return _number(summary, "machine", "asleep_s")


def say_asleep(_summary: Summary, seconds: float) -> str:
    return f"this machine was suspended for {duration(seconds)} during the run: what was in flight then waited for it"


def client_cpu(summary: Summary) -> float | None:
    """How busy the engine's threads were."""
    client, seconds = summary["client"], summary["duration_s"]
    if not client.get("threads") or not seconds:
        return None
    return _ratio(client.get("cpu_s"), float(seconds) * float(client["threads"]))


def say_client_cpu(summary: Summary, share: float) -> str:
    client = summary["client"]
    return (
        f"the client's {plural(int(client['threads']), 'thread')} used {percent(share)} of the time that they had: there is no "
        f"room for bursts; give --threads more, and cores to run them (typical gap {_ms(_typical_gap(summary))}, client lag "
        f"p99 {_ms(_statistic(client, 'client_lag_ms', 'p99'))})"
    )


# ---- the server's own counts ----

SEES_MOST = 0.95
"""A page that counted fewer than this share of our requests is of one server among several: its counts are no check."""


def _sees_all(summary: Summary) -> bool:
    ours, theirs = _number(summary, "server", "our_requests"), _number(summary, "server", "requests")
    return bool(ours and theirs is not None and theirs >= SEES_MOST * ours)


def other_clients(summary: Summary) -> float | None:
    """Requests that the server finished beside all that we sent."""
    if not _sees_all(summary):
        return None
    server = summary["server"]
    return max(float(server["requests"]) / float(server["our_sent"]) - 1, 0.0)


def say_other_clients(summary: Summary, _: float) -> str:
    server = summary["server"]
    return (
        f"the server finished {int(server['requests']):,} requests where {server['our_sent']:,} were sent: others used it "
        "meanwhile, and the figures are of a shared server"
    )


def server_tokens(summary: Summary) -> float | None:
    """How far its output tokens a request are from ours."""
    server = summary.get("server")
    if not server or not _sees_all(summary) or not server["requests"]:
        return None
    if server["generation_tokens"] is None or not server["our_output_tokens"]:
        return None
    if server["our_sent"] != server["our_requests"]:  # it counts the tokens of those that were cut, too
        return None
    theirs = float(server["generation_tokens"]) / float(server["requests"])
    return abs(theirs / (float(server["our_output_tokens"]) / float(server["our_requests"])) - 1)


def say_server_tokens(summary: Summary, share: float) -> str:
    server = summary["server"]
    return (
        f"the server's counter rose by {int(server['generation_tokens']):,} output tokens for {int(server['requests']):,} "
        f"requests, the answers hold {server['our_output_tokens']:,} for {server['our_requests']:,}: {percent(share)} apart a "
        "request; tokens/s and TPOT are off by as much where its counter is right"
    )


# ---- the server's own times ----


def server_misfits(summary: Summary) -> float | None:
    """Requests whose parts do not add up to what we saw, of those that have any."""
    times = summary.get("server_times")
    return float(times["misfits"]) / float(times["requests"]) if times and times["requests"] else None


def say_server_misfits(summary: Summary, share: float) -> str:
    times = summary["server_times"]
    early = times["split_ms"]["delivery"]
    held = (
        "the first tokens were held back on the way"
        if early is not None and early < 0
        else "tokens were late on the way"
    )
    front_ms = busy_front_end_ms(summary)
    where = (
        ""
        if front_ms is None
        else f" or in its front end, where a request spends {_ms(front_ms)} by its /metrics"
    )
    return (
        f"{plural(times['misfits'], 'request')} ({percent(share)}) took another time than the server's queue, prefill and decode "
        f"times say: {held}{where}, or the server's clock is wrong"
    )


def counters_fell(summary: Summary) -> float | None:
    times = summary.get("server_times")
    return float(times["counters_fell"]) if times else None


def say_counters_fell(_summary: Summary, _: float) -> str:
    return (
        "the server's counters (/metrics) were lower after the run than before: it started again meanwhile, or the page is of "
        "one server among several"
    )
