"""Batches of finished requests, as Engine.drain() gives them: their texts, without texts, several as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine


def texts_of(batch: _engine.Batch) -> Iterator[str]:
    """The text of each request's answer, "" where it has none."""
    at, data = 0, batch["bytes"]
    for text, error in _lengths(batch):
        yield data[at : at + text].decode("utf-8", errors="replace")
        at += text + error


def without_texts(batch: _engine.Batch) -> _engine.Batch:
    """The same with errors only, as if no texts had been kept."""
    at, data, errors = 0, batch["bytes"], []
    for text, error in _lengths(batch):
        errors.append(data[at + text : at + text + error])
        at += text + error
    records = np.frombuffer(batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE)).copy()
    records["text_len"] = 0
    found = batch.copy()
    found["records"], found["bytes"] = records.tobytes(), b"".join(errors)
    return found


def joined(batches: Sequence[_engine.Batch]) -> _engine.Batch:
    """All of them as one, in order."""
    return {
        "records": b"".join(batch["records"] for batch in batches),
        "gaps": b"".join(batch["gaps"] for batch in batches),
        "stamps": b"".join(batch["stamps"] for batch in batches),
        "events": b"".join(batch["events"] for batch in batches),
        "bytes": b"".join(batch["bytes"] for batch in batches),
    }


def picked(batch: _engine.Batch, wanted: NDArray[np.bool_]) -> _engine.Batch:
    """Only these requests of a batch without events."""
    records = np.frombuffer(batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE))
    gaps = np.frombuffer(batch["gaps"], dtype=np.dtype(_engine.GAP_DTYPE))
    stamps = np.frombuffer(batch["stamps"], dtype=np.int64).reshape(-1, 2)
    edges = np.cumsum([0, *(text + error for text, error in _lengths(batch))]).tolist()
    return {
        "records": records[wanted].tobytes(),
        "gaps": gaps[np.repeat(wanted, records["n_gaps"])].tobytes(),
        "stamps": stamps[np.repeat(wanted, records["n_chunk_stamps"])].tobytes(),
        "events": b"",
        "bytes": b"".join(batch["bytes"][edges[i] : edges[i + 1]] for i in np.flatnonzero(wanted).tolist()),
    }


def _lengths(batch: _engine.Batch) -> list[tuple[int, int]]:
    records = np.frombuffer(batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE))
    return list(zip(records["text_len"].tolist(), records["error_len"].tolist(), strict=True))
