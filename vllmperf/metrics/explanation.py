"""Explains a run: each doubt of its verdict and each odd pattern, with what was seen, causes, tests and commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from vllmperf.metrics.advice import OF_RULES, Advice, fitting
from vllmperf.metrics.answer_rules import busy_front_end_ms
from vllmperf.metrics.commands import commands
from vllmperf.metrics.detectors import Seen, Summary
from vllmperf.metrics.patterns import PATTERNS, Pattern
from vllmperf.metrics.rules import client_lag
from vllmperf.metrics.view import Completed
from vllmperf.numbers import brief, percent
from vllmperf.place import Place, place_of


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
    return [*_reasons(done, summary), *_patterns(done, summary)]


def _reasons(done: Completed, summary: Summary) -> Iterator[Explained]:
    for finding in summary["verdict"]["findings"]:
        advice = OF_RULES[finding["name"]]
        yield Explained(
            "doubt",
            finding["name"],
            finding["name"].replace("_", " "),
            finding["level"],
            finding["reason"],
            {"value": finding["value"]},
            *_advised(advice, _likely(advice, summary), done, summary, {}),
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
        *_advised(pattern.advice, seen.likely, done, summary, seen.figures),
    )


Texts = tuple[str, ...]


def _advised(
    advice: Advice,
    likely: Mapping[str, str],
    done: Completed,
    summary: Summary,
    figures: Mapping[str, float],
) -> tuple[Texts, Texts, Texts]:
    """Causes, what tells them apart, commands: what fits the place of the server."""
    place = place_of(summary["plan"])
    path = str(done.recording.path)
    return (
        tuple(_causes(advice, likely, place)),
        tuple(fitting(advice.tell_apart, place)),
        commands(advice.next, summary, path, figures),
    )


def _causes(advice: Advice, likely: Mapping[str, str], place: Place) -> Iterator[str]:
    """Those with evidence first, and the evidence."""
    texts = {key: text for key, one in advice.causes for text in fitting([one], place)}
    yield from (f"{texts[key]} ({evidence})" for key, evidence in likely.items() if key in texts)
    yield from (text for key, text in texts.items() if key not in likely)


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
