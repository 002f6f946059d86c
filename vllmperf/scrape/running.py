"""How many requests the server itself says are running, watched while a run goes."""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Sequence
from types import TracebackType

from vllmperf.scrape.text import samples
from vllmperf.target import ANSWER_S, AnswerError, Client

RUNNING = "vllm:num_requests_running"
EVERY_S = 0.5
LEAST_SAMPLES = 4
SURE = 0.1
"""A mean is known when its standard error is below this share of it. Short streams that begin and end together are
seen all at once or not at all, and a few looks then say nothing."""


def gauge(text: str, name: str) -> float | None:
    """The sum of a gauge over its labels (engines, models); None when the page does not have it.

    Raises ValueError when the page is no Prometheus text.
    """
    found = [sample.value for sample in samples(text) if sample.name == name]
    return float(sum(found)) if found else None


class Running:
    """Asks for the gauge twice a second, from a thread of its own, as long as it is entered.

    `mean` is None when the page could not be read, not often enough, or with too many values.
    """

    def __init__(self, client: Client, every_s: float = EVERY_S) -> None:
        self._client, self._every_s = client, every_s
        self._samples: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="metrics", daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=ANSWER_S)

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                value = gauge(self._client.get("/metrics").decode(errors="replace"), RUNNING)
            except (AnswerError, ValueError):
                return  # no metrics: there is nothing to compare with
            if value is None:
                return
            self._samples.append(value)

    @property
    def mean(self) -> float | None:
        """Over the middle of the run: its first and last eighth are ramp and drain."""
        edge = len(self._samples) // 8
        return known_mean(self._samples[edge : len(self._samples) - edge])


def known_mean(samples: Sequence[float]) -> float | None:
    """The mean of looks at a gauge; None when they are too few for how much they differ."""
    if len(samples) < LEAST_SAMPLES:
        return None
    mean = statistics.fmean(samples)
    return mean if statistics.stdev(samples) <= SURE * mean * math.sqrt(len(samples)) else None
