"""A batch whose instants are moved: of the rest of a run, or of an engine that began later."""

from __future__ import annotations

import numpy as np

import vllmperf._engine as _engine
from vllmperf.record.fields import INSTANTS


def shifted(batch: _engine.Batch, by_ns: int) -> _engine.Batch:
    """The same, each instant so many ns later."""
    if by_ns == 0:
        return batch
    records = np.frombuffer(batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE)).copy()
    for name in INSTANTS:
        records[name][records[name] != _engine.NONE] += by_ns
    moved = batch.copy()
    moved["records"] = records.tobytes()
    moved["stamps"] = (np.frombuffer(batch["stamps"], dtype=np.int64) + by_ns).tobytes()
    return moved
