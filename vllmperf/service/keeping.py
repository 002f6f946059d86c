"""Which runs the data folder keeps: without a rule all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from vllmperf.errors import UsageError
from vllmperf.service.jobs import CANCELLED, FAILED, FINISHED, Job

OVER = (FINISHED, FAILED, CANCELLED)
"""Phases of runs that may be removed: an interrupted one may be worth a look, or go on."""


@dataclass(frozen=True, slots=True)
class Keep:
    """runs: so many of those that are over. days: for so long after their end. None: no such rule."""

    runs: int | None = None
    days: float | None = None

    def __post_init__(self) -> None:
        if self.runs is not None and self.runs < 1:
            raise UsageError(f"--keep-runs must be at least 1 (got {self.runs})")
        if self.days is not None and not 0 < self.days < 1e5:
            raise UsageError(f"--keep-days must be above 0 and below 100,000 (got {self.days:g})")

    def surplus(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Those that may go. jobs: newest first."""
        over = [job for job in jobs if job.phase in OVER]
        for place, job in enumerate(over):
            if self._is_beyond(place) or self._is_old(job):
                yield job

    def _is_beyond(self, place: int) -> bool:
        return self.runs is not None and place >= self.runs

    def _is_old(self, job: Job) -> bool:
        if self.days is None or job.ended_at is None:
            return False
        return datetime.now(UTC) - datetime.fromisoformat(job.ended_at) > timedelta(days=self.days)
