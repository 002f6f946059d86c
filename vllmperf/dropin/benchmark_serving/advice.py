"""What to do about requests that failed: our hints where they fit the version's flags, in its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vllmperf import hints
from vllmperf.dropin import own_words
from vllmperf.dropin.benchmark_serving.answers import Answer
from vllmperf.dropin.benchmark_serving.profiles import Profile

MOST_KINDS = 5
FITTING = ("tls_failed", "refused", "dns_failed", "local_fault")
"""Outcomes whose hints name no flag of our own. An HTTP error's do where the server refuses a field."""


def advised(answer: Answer, profile: Profile, plan: Mapping[str, Any]) -> str:
    """The error with the server's own words and a hint. plan: as Plan.to_dict() gives it."""
    fits = answer.outcome in FITTING or (
        answer.outcome == "http_error" and answer.status not in hints.REFUSING
    )
    hint = hints.of_failure(plan, answer.outcome, answer.status, answer.why) if fits else None
    own = own_words.PROFILE_2026 if profile.version == "2026" else own_words.PROFILE
    return own_words.told(f"{answer.why}; {hint}" if hint else answer.why, own)


def failures(answers: Sequence[Answer], profile: Profile, plan: Mapping[str, Any]) -> Iterator[str]:
    """For stderr: why requests failed, where the version's output does not say it all."""
    failed = [answer for answer in answers if not answer.success]
    kinds = Counter(advised(answer, profile, plan) for answer in failed)
    shown = {answer.error for answer in failed} if profile.knows_failed else set()
    for why, n in kinds.most_common(MOST_KINDS):
        if why not in shown:
            yield f"vllmperf: {n} of {len(answers)} requests failed: {why}"
