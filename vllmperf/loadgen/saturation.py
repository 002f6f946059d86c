"""Notices while a run goes that its queue grows without end.

It looks at requests without a first token, which the engine counts at every tick, so that it need not wait for answers to
end: with long contexts those take minutes. The rule is that of the verdict (metrics.growth), on what is known by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vllmperf.metrics.growth import BLOCKS, FEWEST_ARRIVALS, growth_of
from vllmperf.numbers import brief, duration, percent

MOST_SAMPLES = 512
"""When there are more, every other one goes: memory does not grow with the run."""
LEAST_S = 4.0
RAMP = 3.0
"""Nothing is said before this many times what the first first token took, twice over: the window is the later half."""
FROM_SHARE = 0.05
"""More than the verdict's: a notice that a run takes back is worse than one that comes late."""


class Sample(NamedTuple):
    """at_s: since the start."""

    at_s: float
    sent: int
    waiting: int


class Saturation:
    """Takes the engine's counters now and then; notice() is what to tell, None as long as there is nothing."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._first_s: float | None = None

    def take(self, at_s: float, counters: Mapping[str, Any]) -> None:
        """Counters of this moment. Times must rise."""
        if at_s <= 0 or counters.get("state") != "running" or "waiting" not in counters:
            return
        sample = Sample(at_s, counters["sent"], counters["waiting"])
        if self._samples and at_s <= self._samples[-1].at_s:
            return
        if self._first_s is None and sample.sent > sample.waiting:
            self._first_s = at_s
        self._samples.append(sample)
        if len(self._samples) > MOST_SAMPLES:
            del self._samples[::2]

    def notice(self) -> str | None:
        """The queue of the later half of what has passed."""
        if self._first_s is None or len(self._samples) < 2 * BLOCKS:
            return None
        now = self._samples[-1]
        start_s = max(now.at_s / 2, RAMP * self._first_s)
        later = [sample for sample in self._samples if sample.at_s >= start_s]
        if len(later) < BLOCKS:
            return None
        arrivals = now.sent - later[0].sent
        seconds = now.at_s - later[0].at_s
        if seconds < max(LEAST_S / 2, RAMP * self._first_s / 2) or arrivals < FEWEST_ARRIVALS:
            return None
        share = growth_of(_blocks(later), seconds, arrivals / seconds)
        if share < FROM_SHARE:
            return None
        return (
            f"the queue grows: {now.waiting:,} requests wait for a first token, {later[0].waiting:,} did "
            f"{duration(seconds)} ago; about {percent(round(share, 2))} of {brief(arrivals / seconds)} requests/s pile up"
        )


def _blocks(samples: list[Sample]) -> list[float]:
    """Mean waiting in blocks of equal length; [] where one of them has no sample."""
    start_s, length_s = samples[0].at_s, (samples[-1].at_s - samples[0].at_s) / BLOCKS
    groups: list[list[int]] = [[] for _ in range(BLOCKS)]
    for sample in samples:
        groups[min(int((sample.at_s - start_s) / length_s), BLOCKS - 1)].append(sample.waiting)
    return [sum(group) / len(group) for group in groups] if all(groups) else []
