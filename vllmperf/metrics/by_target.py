"""The figures of each target of a run that loads several."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.statistics import DEFAULT_PERCENTILES, Row, describe
from vllmperf.metrics.view import COMPLETED, Completed
from vllmperf.plan.spread import cycle
from vllmperf.record.gaps import SelectedGaps
from vllmperf.record.reader import Recording

INCOMPLETE = _engine.OUTCOMES.index("incomplete")
NAMES = ("ttft", "tpot", "itl", "e2el")


def by_target(done: Completed) -> list[dict[str, Any]] | None:
    """By the rules of the whole: latencies and rates over the time that counts, outcomes of all requests. A request's number says
    where it went. None for a run of one target, and for a merged file whose numbers were counted on."""
    plan = done.recording.plan
    others = plan.get("other_urls") or ()
    if not others or any(part["first_number"] for part in done.recording.meta.get("parts") or ()):
        return None
    weights = list(plan.get("weights") or [1] * (1 + len(others)))
    turns = np.array(cycle(weights))
    where = turns[done.recording.requests["index"] % len(turns)]
    urls = [plan.get("base_url"), *others]
    return [
        {"base_url": url, "weight": weight, **_figures(done, where == i)}
        for i, (url, weight) in enumerate(zip(urls, weights, strict=True))
    ]


def _figures(done: Completed, mine: NDArray[np.bool_]) -> dict[str, Any]:
    own = Completed(_selected(done.recording, mine), done.trim)
    outcomes = own.recording.requests["outcome"]
    completed, incomplete = int((outcomes == COMPLETED).sum()), int((outcomes == INCOMPLETE).sum())
    return {
        "requests": len(outcomes),
        "completed": completed,
        "errors": len(outcomes) - completed - incomplete,
        "requests_per_s": own.work_per_s(),
        "output_tokens_per_s": own.output_tokens_per_s,
        "metrics": {BY_NAME[name].key: _row(own, name) for name in NAMES},
    }


def _row(done: Completed, name: str) -> Row | None:
    return describe(BY_NAME[name].values(done), DEFAULT_PERCENTILES)


def _selected(recording: Recording, mine: NDArray[np.bool_]) -> Recording:
    """A recording of these requests alone, without stamps, texts and errors."""
    lengths = recording.requests["n_gaps"].astype(np.int64)
    return replace(
        recording,
        requests=recording.requests[mine],
        gaps=SelectedGaps(recording.gaps, lengths, mine),
        stamps=np.zeros((0, 2), dtype=np.int64),
        texts=[],
        errors=[],
        asked=None,
    )
