"""How requests failed: each outcome once, HTTP errors by their status, with what the server said and what to do."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf import hints
from vllmperf.metrics.view import COMPLETED
from vllmperf.record.reader import Recording
from vllmperf.record.table import Requests
from vllmperf.server_words import said

Part = dict[str, Any]

NO_FAILURES = ("completed", "incomplete")
HTTP_ERROR = "http_error"
MOST_KINDS = 1000
"""Different texts that are compared; beyond them nobody would read the number."""

CHANGING = re.compile(r"[0-9a-fA-F-]{8,}|\d+")
"""What differs between two messages of the same kind: numbers and ids."""


def failures(recording: Recording) -> list[Part]:
    """For each: outcome, status (None but for HTTP errors), count, the commonest text, how many kinds of text, a hint."""
    return [_entry(recording, outcome, status, rows) for outcome, status, rows in _groups(recording)]


def _groups(recording: Recording) -> Iterator[tuple[str, int | None, NDArray[np.int64]]]:
    outcomes, statuses = recording.requests["outcome"], recording.requests["status"]
    for number, name in enumerate(_engine.OUTCOMES):
        rows = np.flatnonzero(outcomes == number)
        if len(rows) == 0 or name in NO_FAILURES:
            continue
        if name != HTTP_ERROR:
            yield name, None, rows
            continue
        for status, _ in Counter(statuses[rows].tolist()).most_common():
            yield name, status, rows[statuses[rows] == status]


def _entry(recording: Recording, outcome: str, status: int | None, rows: NDArray[np.int64]) -> Part:
    texts = Counter(text for row in rows.tolist() if (text := recording.errors[row]))
    sample = texts.most_common(1)[0][0] if texts else None
    return {
        "outcome": outcome,
        "status": status,
        "count": len(rows),
        "sample": sample,
        "kinds": len({CHANGING.sub("#", text) for text, _ in texts.most_common(MOST_KINDS)}),
        "hint": hints.of_failure(
            recording.plan,
            outcome,
            status or 0,
            said(sample or ""),
            was_kept=_any_on_a_kept_connection(recording.requests[rows]),
            others_completed=bool((recording.requests["outcome"] == COMPLETED).any()),
        ),
    }


def _any_on_a_kept_connection(requests: Requests) -> bool:
    """One that got no byte of an answer on a connection that had carried a request before."""
    is_kept, is_silent = requests["connected_ns"] == _engine.NONE, requests["first_byte_ns"] == _engine.NONE
    return bool((is_kept & is_silent).any())
