"""The stretch of an open loop in which the server was under load: without the ramp at its start and the drain at its end."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.record.reader import Recording

NS = 1e9
RAMP_SHARE = 0.9
FEWEST = 20


class Completed(Protocol):
    """What of metrics.view.Completed is needed here."""

    recording: Recording
    requests: NDArray[np.void]

    @property
    def is_open_loop(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """Work completed within the stretch: what ended in it counts whole."""

    seconds: float
    requests: int
    output_tokens: int | None
    total_tokens: int | None

    def per_s(self, count: int | None) -> float | None:
        return None if count is None else count / self.seconds


def loaded(done: Completed) -> Loaded | None:
    """From when 90 % of the requests that were sent before the first answer was complete have ended, to the last end before
    the last send.

    None for a closed loop, and with fewer than 20 completed requests within.
    """
    sent = done.recording.requests["sent_ns"]
    sent = sent[sent != _engine.NONE]
    if not done.is_open_loop or len(done.requests) < FEWEST or len(sent) == 0:
        return None
    end, last = done.requests["end_ns"], int(sent.max())
    early = end[done.requests["sent_ns"] <= end.min()]
    first = int(np.quantile(early, RAMP_SHARE, method="higher"))
    within = (end > first) & (end <= last)
    count = int(within.sum())
    if count < FEWEST:
        return None
    seconds = float(end[within].max() - first) / NS  # from one end to another one
    output, prompt = _sum(done, "output_tokens", within), _sum(done, "prompt_tokens", within)
    total = None if not prompt or output is None else prompt + output
    return Loaded(seconds, count, output, total)


def _sum(done: Completed, name: str, within: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> int | None:
    column = done.requests[name][within]
    column = column[column != _engine.NONE]
    return int(column.sum(dtype=np.int64)) if len(column) else None


def per_s(instants_ns: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> float | None:
    """The mean rate of events from the first to the last, of those that happened."""
    instants_ns = instants_ns[instants_ns != _engine.NONE]
    span_ns = int(instants_ns.max() - instants_ns.min()) if len(instants_ns) > 1 else 0
    return (len(instants_ns) - 1) * NS / span_ns if span_ns else None
