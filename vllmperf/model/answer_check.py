"""Whether a server answers at all, before minutes are spent on one that does not."""

from __future__ import annotations

import numpy as np

import vllmperf._engine as _engine
from vllmperf.errors import TargetError
from vllmperf.metrics.view import COMPLETED
from vllmperf.record.reader import Recording

MOST_LETTERS = 200


def check_answered(recording: Recording) -> None:
    """Raises TargetError, with what came instead, when no request of a run was answered."""
    outcomes = recording.requests["outcome"]
    if (outcomes == COMPLETED).any():
        return
    if len(outcomes) == 0:
        raise TargetError("not one request was sent: is the budget too short?")
    row = int(np.argmax(outcomes == np.bincount(outcomes).argmax()))
    said = [_engine.OUTCOMES[outcomes[row]].replace("_", " ")]
    status = int(recording.requests["status"][row])
    said += [f"status {status}"] if status > 0 else []
    said += [error[:MOST_LETTERS] for error in (recording.errors[row],) if error]
    raise TargetError(
        f"not one request was answered ({', '.join(said)}): is the server ready, the model right?"
    )
