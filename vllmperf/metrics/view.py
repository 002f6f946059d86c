"""The completed requests of a recording as arrays of nanoseconds: what every metric is computed from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vllmperf import _engine
from vllmperf.record.reader import Recording

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

COMPLETED = _engine.OUTCOMES.index("completed")


@dataclass(frozen=True)
class Completed:
    """The completed requests of a recording and their gaps.

    Times and differences are float64 ns, NaN = did not happen.
    """

    recording: Recording

    @cached_property
    def mask(self) -> Flags:
        """Which of all recorded requests are completed ones."""
        mask: Flags = self.recording.requests["outcome"] == COMPLETED
        return mask

    @cached_property
    def requests(self) -> NDArray[np.void]:
        return self.recording.requests if self.mask.all() else self.recording.requests[self.mask]

    def field(self, name: str) -> Floats:
        """A field as floats, NaN for NONE."""
        return as_floats(self.requests[name])

    def asked(self, name: str) -> Floats:
        """A field of what was asked for, NaN where it is not known."""
        if self.recording.asked is None:
            return np.full(len(self.requests), np.nan)
        return as_floats(self.recording.asked[name][self.mask])

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


CHUNKS = _engine.TOKENS_SOURCES.index("chunks")


def as_floats(column: NDArray[np.int64]) -> Floats:
    """float64 with NaN for NONE."""
    floats = column.astype(np.float64)
    floats[column == _engine.NONE] = np.nan
    return floats


def known(values: Floats) -> Floats:
    """Without the NaN."""
    return values[~np.isnan(values)]
