"""A plan in words: what was run against what."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vllmperf.report.numbers import clean, duration, number, plural

Plan = Mapping[str, Any]


def target_words(plan: Plan) -> str:
    return clean(plan.get("url") or plan.get("base_url") or "")


def load_words(plan: Plan) -> str:
    """20 requests/s, Poisson, at most 8 at a time, 200 requests"""
    parts = [_rate_words(plan), _concurrency_words(plan)]
    if plan.get("num_prompts") is not None:
        parts.append(plural(plan["num_prompts"], "request"))
    if plan.get("duration_s"):
        parts.append(f"for {duration(float(plan['duration_s']))}")
    return ", ".join(part for part in parts if part)


def _is_endless(rate: object) -> bool:
    return rate is None or str(rate) == "inf"


def _rate_words(plan: Plan) -> str:
    rate = plan.get("request_rate")
    if _is_endless(rate):
        return "" if plan.get("max_concurrency") else "all at once"
    return f"{number(_whole(rate))} requests/s, {_arrival_words(plan)}"


def _whole(rate: Any) -> float | int:
    value = float(rate)
    return int(value) if value == int(value) else value


def _arrival_words(plan: Plan) -> str:
    arrival = str(plan.get("arrival") or "poisson")
    if arrival == "gamma":
        return f"gamma with burstiness {plan.get('burstiness')}"
    return {"poisson": "Poisson", "constant": "evenly spaced", "trace": "as in the trace"}.get(arrival, clean(arrival))


def _concurrency_words(plan: Plan) -> str:
    limit = plan.get("max_concurrency")
    if not limit:
        return ""
    return f"{number(limit)} at a time" if _is_endless(plan.get("request_rate")) else f"at most {number(limit)} at a time"


def data_words(plan: Plan) -> str:
    """random, 512 tokens in, 128 out"""
    name = plan.get("dataset_name") or plan.get("dataset")
    parts = [clean(name)] if name else []
    if plan.get("random_input_len"):
        parts.append(f"{number(plan['random_input_len'])} tokens in")
    if plan.get("random_output_len"):
        parts.append(f"{number(plan['random_output_len'])} out")
    return ", ".join(parts)


def time_words(started_at: str | None, duration_s: float | None) -> str:
    if not started_at:
        return ""
    moment = datetime.fromisoformat(started_at.replace("Z", "+00:00"))
    took = f", took {duration(duration_s)}" if duration_s is not None else ""
    return f"{moment.day} {moment:%B %Y, %H:%M:%S} UTC{took}"


def error_words(text: str) -> str:
    """An error for one line: of a JSON error body only the message, in any of the usual shapes."""
    start = text.find("{")
    if start >= 0:
        try:
            message = _message(json.loads(text[start:]))
        except ValueError:
            message = ""  # cut off, or no JSON after all
        if message:
            return clean(text[:start] + message)
    return clean(text)


def _message(body: Any) -> str:
    """The text of {"error": {"message": …}}, {"error": …}, {"message": …} or {"detail": …}."""
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(key):
            return _message(body[key])
    return body if isinstance(body, str) else ""
