"""The completed requests of a recording as arrays of nanoseconds: what every metric is computed from."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.in_flight import InFlight, sweep
from vllmperf.metrics.loaded import Loaded, loaded, per_s
from vllmperf.metrics.peak import peak_output_tokens_per_s
from vllmperf.record.reader import Recording

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NS = 1e9

COMPLETED = _engine.OUTCOMES.index("completed")
CHUNKS = _engine.TOKENS_SOURCES.index("chunks")


class Rows:
    """Requests as the engine records them. Times and differences are float64 ns, NaN = did not happen."""

    requests: NDArray[np.void]

    def __init__(self, requests: NDArray[np.void]) -> None:
        self.requests = requests

    def field(self, name: str) -> Floats:
        """A field as floats, NaN for NONE."""
        return as_floats(self.requests[name])

    def between(self, earlier: str, later: str) -> Floats:
        """Time from one instant of each request to another, NaN where one of them did not happen."""
        a, b = self.requests[earlier], self.requests[later]
        difference: Floats = (b - a).astype(np.float64)  # in integers: exact whatever the clock shows
        difference[(a == _engine.NONE) | (b == _engine.NONE)] = np.nan
        return difference

    @cached_property
    def tokens_per_choice(self) -> Floats:
        per_choice: Floats = self.field("output_tokens") / np.maximum(self.requests["choices"], 1)
        return per_choice

    def sum(self, name: str) -> int | None:
        """Sum of a field where it is known, None where it is known nowhere."""
        column = self.requests[name]
        column = column[column != _engine.NONE]
        return int(column.sum(dtype=np.int64)) if len(column) else None


class Completed(Rows):
    """The completed requests of a recording, their gaps, and what is counted over the whole run."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.mask: Flags = recording.requests["outcome"] == COMPLETED
        """Which of all recorded requests are completed ones."""
        super().__init__(recording.requests if self.mask.all() else recording.requests[self.mask])

    def asked(self, name: str) -> Floats:
        """A field of what was asked for, NaN where it is not known."""
        if self.recording.asked is None:
            return np.full(len(self.requests), np.nan)
        return as_floats(self.recording.asked[name][self.mask])

    # ---- of the whole run ----

    @cached_property
    def window_s(self) -> float | None:
        """First sent to last end, of all requests: what throughput is divided by."""
        sent, end = happened(self.recording, "sent_ns"), happened(self.recording, "end_ns")
        if len(sent) == 0 or len(end) == 0 or end.max() <= sent.min():
            return None
        return float(end.max() - sent.min()) / NS

    def per_s(self, count: float | None) -> float | None:
        return None if count is None or not self.window_s else count / self.window_s

    @property
    def total_tokens(self) -> int | None:
        prompt, output = self.sum("prompt_tokens"), self.sum("output_tokens")
        return None if not prompt or output is None else prompt + output

    @cached_property
    def is_open_loop(self) -> bool:
        return len(happened(self.recording, "scheduled_ns")) > 0

    @cached_property
    def loaded(self) -> Loaded | None:
        return loaded(self)

    def loaded_per_s(self, what: str) -> float | None:
        """A count of Loaded in a second of its stretch."""
        return None if self.loaded is None else self.loaded.per_s(getattr(self.loaded, what))

    def rate_of(self, instant: str) -> float | None:
        """Requests per second by one of their instants, of those of an open loop that were sent."""
        requests = self.recording.requests
        return per_s(requests[instant][requests["sent_ns"] != _engine.NONE]) if self.is_open_loop else None

    @cached_property
    def in_flight(self) -> InFlight:
        return sweep(self.recording.requests)

    @cached_property
    def peak_output_tokens_per_s(self) -> float | None:
        return peak_output_tokens_per_s(self.recording)

    # ---- gaps ----

    @cached_property
    def _gap_mask(self) -> Flags | None:
        return None if self.mask.all() else np.repeat(self.mask, self.recording.requests["n_gaps"])

    @cached_property
    def gaps_ns(self) -> NDArray[np.float32]:
        gaps = self.recording.gaps_ns
        return gaps if self._gap_mask is None else gaps[self._gap_mask]

    @cached_property
    def gap_shared(self) -> Flags:
        shared = self.recording.gap_shared
        return shared if self._gap_mask is None else shared[self._gap_mask]

    @cached_property
    def gap_tokens(self) -> NDArray[np.uint16]:
        """Tokens of each gap's later chunk, 0 = unknown.

        A stream with as many chunks as tokens brought one in each.
        """
        all_tokens = self.recording.gap_tokens
        tokens = all_tokens if self._gap_mask is None else all_tokens[self._gap_mask]
        one_each = (self.requests["output_tokens"] == self.requests["chunks"]) & (
            self.requests["tokens_source"] != CHUNKS
        )
        return np.where((tokens == 0) & np.repeat(one_each, self.requests["n_gaps"]), np.uint16(1), tokens)

    @cached_property
    def shared_share(self) -> float | None:
        """Share of the gaps whose length is an even split, because their chunks came in one read."""
        return float(self.gap_shared.mean()) if len(self.gap_shared) else None


def happened(recording: Recording, name: str) -> NDArray[np.int64]:
    """The instants of a field, of all requests where it did happen."""
    column: NDArray[np.int64] = recording.requests[name]
    known: NDArray[np.int64] = column[column != _engine.NONE]
    return known


def as_floats(column: NDArray[np.int64]) -> Floats:
    """float64 with NaN for NONE."""
    floats = column.astype(np.float64)
    floats[column == _engine.NONE] = np.nan
    return floats
