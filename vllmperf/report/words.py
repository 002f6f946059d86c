"""A plan in words: what was run against what."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from vllmperf.numbers import brief, clean, duration, number, percent, plural
from vllmperf.server_words import said

Plan = Mapping[str, Any]


def target_words(plan: Plan) -> str:
    url = clean(plan.get("url") or plan.get("base_url") or "")
    if others := plan.get("other_urls"):
        return f"{url} and {plural(len(others), 'other')}, in turn"
    return f"{url} (simulated)" if plan.get("simulator") is not None else url


def load_words(plan: Plan) -> str:
    """20 requests/s, Poisson, at most 8 at a time, 200 requests"""
    parts = _session_words(plan) if plan.get("sessions") else [_rate_words(plan), _concurrency_words(plan)]
    if plan.get("num_prompts") is not None:
        parts.append(plural(plan["num_prompts"], "request"))
    if plan.get("until"):
        parts.append(f"until {clean(plan['until'])}")
    if plan.get("duration"):
        words = "for at most" if plan.get("until") else "for"
        parts.append(f"{words} {duration(float(plan['duration']))}")
    return ", ".join(part for part in parts if part)


def _session_words(plan: Plan) -> list[str]:
    """closed by session, 8 sessions at once, 100 sessions, 1 s of thinking before each later turn"""
    most, asked = plan.get("max_concurrency"), plan["sessions"]["asked"]
    think_s = plan.get("think_time")
    return [
        "closed by session (a turn follows the answer before it)",
        f"{plural(most, 'session')} at once" if most else "all sessions at once",
        plural(asked, "session") if asked else "",
        f"{duration(think_s)} of thinking before each later turn" if think_s else "",
    ]


def break_words(breaks: Sequence[Mapping[str, Any]]) -> str:
    """5 min 10 s after 6 min 12 s, 40 s after 9 min (server lost): resumed, left out of the time"""
    each = [
        f"{duration(one['break_ns'] / 1e9)} after {duration(one['at_ns'] / 1e9)}"
        f"{' (server lost)' if one.get('reason') == 'server_lost' else ''}"
        for one in breaks
    ]
    return f"{', '.join(each)}: resumed, left out of the time" if each else ""


def _is_endless(rate: object) -> bool:
    return rate is None or str(rate) == "inf"


def _rate_words(plan: Plan) -> str:
    rate = plan.get("request_rate")
    if plan.get("arrival") == "trace":
        return f"at the times of {clean(PurePath(plan.get('arrival_file') or 'a trace').name)}"
    if plan.get("arrival") == "dataset":
        return "at the times of the data set"
    if _is_endless(rate):
        return "" if plan.get("max_concurrency") else "all at once"
    return f"{number(_whole(rate))} requests/s, {_arrival_words(plan)}"


def _whole(rate: Any) -> float | int:
    value = float(rate)
    return int(value) if value == int(value) else value


def _arrival_words(plan: Plan) -> str:
    arrival, burstiness = plan.get("arrival") or "gamma", plan.get("burstiness") or 1.0
    if arrival == "gamma" and burstiness == 1:
        arrival = "poisson"
    words = {
        "poisson": "Poisson",
        "constant": "evenly spaced",
        "gamma": f"gamma with burstiness {burstiness:g}",
    }
    return words.get(arrival, clean(arrival))


def _concurrency_words(plan: Plan) -> str:
    limit = plan.get("max_concurrency")
    if not limit:
        return ""
    return (
        f"{number(limit)} at a time"
        if _is_endless(plan.get("request_rate"))
        else f"at most {number(limit)} at a time"
    )


def data_words(plan: Plan) -> str:
    """random, 512 tokens in, 128 out"""
    parts = [clean(plan.get("dataset_name") or "")]
    if plan.get("dataset_path"):
        parts.append(clean(PurePath(plan["dataset_path"]).name))
    if plan.get("input_len"):
        parts.append(f"{plural(plan['input_len'], 'token')} in")
    if plan.get("output_len"):
        parts.append(f"{number(plan['output_len'])} out")
    if plan.get("stream") is False:
        parts.append("not streamed")
    return ", ".join(part for part in parts if part)


def time_words(started_at: str | None, duration_s: float | None) -> str:
    if not started_at:
        return ""
    moment = datetime.fromisoformat(started_at.replace("Z", "+00:00"))
    took = f", took {duration(duration_s)}" if duration_s is not None else ""
    return f"{moment.day} {moment:%B %Y, %H:%M:%S} UTC{took}"


SEVERAL = 1.01
"""Tokens a chunk, above which a table says how many."""

OF_WARM_UP = {
    "ttft": "took {} to the first token, then {}",
    "tpot": "took {} a token, then {}",
    "e2el": "took {}, then {}",
}
"""What the requests of a warm-up did, by the metric that found it."""


def left_out(trim: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """(("left out", "the first 23 s: 8 requests took 22.9 s to the first token, then 310 ms"), …)"""
    found = []
    if trim and trim["requests_left_out"]:
        found.append(f"the first {duration(trim['warmup_s'])}: {_warm_up_words(trim)}")
    if trim and trim["drain_s"]:
        found.append(f"the last {duration(trim['drain_s'])}, from throughput: nothing was sent any more")
    return tuple(("left out" if i == 0 else "", words) for i, words in enumerate(found))


def until_words(summary: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(("until", "stopped after 1,200 requests: P99 TTFT is known to ±4.6 % (checked at 670 and 1,005; …)"),)"""
    until = summary.get("until")
    if not until:
        return ()
    ended = "stopped" if until["stopped"] else "ended"
    after = f"{ended} after {plural(summary['requests']['completed'], 'request')}"
    if until["value"] is None:
        return (("until", f"{after}: {until['label']} was not measured"),)
    if until["percent"] is None:
        needs = f", which takes about {number(until['needs'])}" if until.get("needs") else ""
        return (("until", f"{after}: too few for an interval of {until['label']}{needs}"),)
    asked = "" if until["reached"] else f", ±{until['percent_asked']:g} % was asked for"
    counts = ", ".join(number(count) for count in until["checked_at"])
    seen = f"checked at {counts}; " if counts else ""
    wider = f"the interval shown is {until['widened_by']:g} times as wide because of these checks"
    words = f"{until['label']} is known to ±{brief(until['percent'])} %{asked} ({seen}{wider})"
    return (("until", f"{after}: {words}"),)


def token_words(summary: Mapping[str, Any]) -> str:
    """45 % of the prompt tokens from the cache; 2 a chunk; 62 % of 1,234 drafted tokens accepted, 2.1 a step"""
    tokens, drafts = summary["tokens"], summary.get("speculative") or {}
    words = []
    if tokens.get("cached") is not None and tokens["prompt"]:
        words.append(
            f"{percent(tokens['cached'] / tokens['prompt'])} of the prompt tokens from the cache, by usage"
        )
    if (tokens.get("per_chunk") or 0.0) > SEVERAL:
        words.append(f"{brief(tokens['per_chunk'])} a chunk")
    if drafts.get("acceptance") is not None:
        a_step = f", {brief(drafts['tokens_per_step'])} a step" if drafts.get("tokens_per_step") else ""
        accepted = (
            f"{percent(drafts['acceptance'])} of {number(drafts['draft_tokens'])} drafted tokens accepted"
        )
        words.append(accepted + a_step)
    return "; ".join(words)


def _warm_up_words(trim: Mapping[str, Any]) -> str:
    requests = plural(trim["requests_left_out"], "request")
    if trim["found_by"] in OF_WARM_UP:
        unlike = trim.get("requests_unlike") or trim["requests_left_out"]
        beside = "" if unlike >= trim["requests_left_out"] else f"; {requests} were sent in that time"
        medians = (duration(ms / 1000) if ms >= 1000 else f"{brief(ms)} ms" for ms in trim["median_ms"])
        return f"{plural(unlike, 'request')} {OF_WARM_UP[trim['found_by']].format(*medians)}{beside}"
    what = (
        "while the load filled up" if trim["found_by"] == "ramp" else "until as many were in flight as later"
    )
    return f"{requests} {what}"


def error_words(text: str) -> str:
    """What an error says, whole and in one line: of a JSON body or a page only the words."""
    return clean(said(text))
