"""What speculative decoding proposed and what became of it, as far as a server tells it."""

from collections.abc import Mapping
from typing import NamedTuple

COUNTERS = (
    "spec_decode_num_drafts_total",
    "spec_decode_num_draft_tokens_total",
    "spec_decode_num_accepted_tokens_total",
)


class Drafts(NamedTuple):
    """None: not known. steps: that verified drafts; tokens: drafted ones; accepted: of these."""

    steps: float | None = None
    tokens: float | None = None
    accepted: float | None = None

    @property
    def acceptance(self) -> float | None:
        return None if not self.tokens or self.accepted is None else self.accepted / self.tokens

    @property
    def tokens_per_step(self) -> float | None:
        """With the one that each step gives anyway."""
        return None if not self.steps or self.accepted is None else 1 + self.accepted / self.steps


def drafts(of_answers: Drafts, before: Mapping[str, float], after: Mapping[str, float]) -> Drafts:
    """By the answers; without them by two pages of the server's metrics, which count what other clients had drafted, too."""
    if of_answers.tokens is not None:
        return of_answers
    grown = [after[name] - before.get(name, 0) if name in after else None for name in COUNTERS]
    fell = any(each is not None and each < 0 for each in grown)
    return Drafts() if fell else Drafts(*grown)
