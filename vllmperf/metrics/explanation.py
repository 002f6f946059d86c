"""Explains a run: each doubt of its verdict and each odd pattern, with what was seen, causes, tests and commands."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vllmperf.metrics.advice import DOUBTS, Advice
from vllmperf.metrics.answer_rules import busy_front_end_ms
from vllmperf.metrics.detectors import Seen, Summary
from vllmperf.metrics.patterns import PATTERNS, Pattern
from vllmperf.metrics.rules import client_lag
from vllmperf.metrics.view import Completed
from vllmperf.numbers import brief, percent


@dataclass(frozen=True, slots=True)
class Explained:
    """kind: "doubt" of the verdict (level: its level) or "pattern" (level ""). seen: what was seen, with numbers that figures
    has by name. causes: likeliest first. tell_apart: observations. next: commands."""

    kind: str
    name: str
    title: str
    level: str
    seen: str
    figures: Mapping[str, float]
    causes: tuple[str, ...]
    tell_apart: tuple[str, ...]
    next: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def explain(done: Completed, summary: Summary) -> list[Explained]:
    """Doubts, worst first, then patterns in the table's order. Empty for an ordinary run."""
    return [*_doubts(done, summary), *_patterns(done, summary)]


def _doubts(done: Completed, summary: Summary) -> Iterator[Explained]:
    for finding in summary["verdict"]["findings"]:
        advice = DOUBTS[finding["name"]]
        yield Explained(
            "doubt",
            finding["name"],
            finding["name"].replace("_", " "),
            finding["level"],
            finding["reason"],
            {"value": finding["value"]},
            tuple(_causes(advice, _likely(advice, summary))),
            advice.tell_apart,
            _commands(advice, done, summary, {}),
        )


def _patterns(done: Completed, summary: Summary) -> Iterator[Explained]:
    for pattern in PATTERNS:
        seen = pattern.detect(done, summary)
        if seen is not None:
            yield _explained(pattern, seen, done, summary)


def _explained(pattern: Pattern, seen: Seen, done: Completed, summary: Summary) -> Explained:
    return Explained(
        "pattern",
        pattern.name,
        pattern.title,
        "",
        seen.text,
        seen.figures,
        tuple(_causes(pattern.advice, seen.likely)),
        pattern.advice.tell_apart,
        _commands(pattern.advice, done, summary, seen.figures),
    )


def _causes(advice: Advice, likely: Mapping[str, str]) -> Iterator[str]:
    """Those with evidence first, and the evidence."""
    texts = dict(advice.causes)
    for key, evidence in likely.items():
        yield f"{texts[key]} ({evidence})"
    yield from (text for key, text in advice.causes if key not in likely)


def _likely(advice: Advice, summary: Summary) -> dict[str, str]:
    """Evidence that the server's front end or the client itself was late, where that is a cause of the doubt."""
    front_ms, lag = busy_front_end_ms(summary), client_lag(summary)
    found = {
        "front_end": None
        if front_ms is None
        else f"a request spends {brief(front_ms)} ms there, by its /metrics",
        "client": None if lag is None or lag <= 1 else f"its lag is {percent(lag)} of a gap (p99)",
    }
    return {key: words for key, words in found.items() if words and key in dict(advice.causes)}


# ---- commands ----


def _commands(
    advice: Advice, done: Completed, summary: Summary, figures: Mapping[str, float]
) -> tuple[str, ...]:
    plan = summary["plan"]
    words = {
        "bench": _bench(plan),
        "load": _load(plan, 1.0),
        "lighter": _load(plan, 0.5),
        "url": plan.get("base_url") or "http://HOST:8000",
        "run": shlex.quote(str(done.recording.path)),
        **{name: f"{value:.0f}" for name, value in figures.items()},
    }
    return tuple(" ".join(command.format(**words).split()) for command in advice.next)


FLAGS = ("model", "dataset_name", "dataset_path", "tokenizer", "input_len", "output_len", "prefix_len")


def _bench(plan: Mapping[str, Any]) -> str:
    """The run's own command without its load: the flags that say what is sent where."""
    urls = [str(plan.get("base_url") or "URL"), *(plan.get("other_urls") or ())]
    weighted = [f"{url}={n}" for url, n in zip(urls, plan.get("weights") or (), strict=False)] or urls
    where = (
        ["--sim"]
        if plan.get("simulator") is not None
        else [word for url in weighted for word in ("--base-url", url)]
    )
    if plan.get("backend") == "openai-chat":
        where += ["--backend", "openai-chat"]
    flags = [
        (f"--{name.replace('_', '-')}", str(plan[name]))
        for name in FLAGS
        if plan.get(name) not in (None, "", 0)
    ]
    words = ["vllmperf", "bench", *where, *(word for pair in flags for word in pair)]
    return " ".join(map(shlex.quote, words))


def _load(plan: Mapping[str, Any], share: float) -> str:
    rate, limit = float(plan.get("request_rate") or math.inf), plan.get("max_concurrency")
    words = [f"--request-rate {rate * share:g}"] if math.isfinite(rate) else []
    if limit:
        words.append(f"--max-concurrency {max(round(limit * (1.0 if words else share)), 1)}")
    if not words:
        words = ["--max-concurrency 64"]
    if plan.get("duration"):
        return " ".join([*words, f"--duration {plan['duration']:g}"])
    return " ".join([*words, f"--num-prompts {plan.get('num_prompts') or 1000}"])
