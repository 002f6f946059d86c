"""The completed requests of a recording as arrays of nanoseconds: what every metric is computed from."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.drafts import Drafts, drafts
from vllmperf.metrics.in_flight import InFlight, at_send, sweep
from vllmperf.metrics.peak import peak_output_tokens_per_s
from vllmperf.metrics.window import Trim
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
    """The completed requests of a recording that count, their gaps, and what is computed over the time that counts.

    trim: what is left out; None: nothing. `whole` is the same with all completed requests.
    """

    def __init__(self, recording: Recording, trim: Trim | None = None) -> None:
        self.recording, self.trim = recording, trim
        self.mask: Flags = recording.requests["outcome"] == COMPLETED
        """Which of all recorded requests count."""
        if trim is not None and trim.left_out:
            self.mask &= recording.requests["sent_ns"] >= self.start_ns
        super().__init__(recording.requests if self.mask.all() else recording.requests[self.mask])

    @cached_property
    def whole(self) -> "Completed":
        return self if self.trim is None or self.trim.is_whole else Completed(self.recording)

    def asked(self, name: str) -> Floats:
        """A field of what was asked for, NaN where it is not known."""
        if self.recording.asked is None:
            return np.full(len(self.requests), np.nan)
        return as_floats(self.recording.asked[name][self.mask])

    @property
    def start_ns(self) -> int:
        """Requests sent before are left out."""
        return self.trim.start_ns if self.trim is not None and self.trim.left_out else -(2**62)

    @property
    def sent(self) -> int:
        """How many requests were sent, of those that count, whatever became of them."""
        return int((happened(self.recording, "sent_ns") >= self.start_ns).sum())

    # ---- over time ----

    @cached_property
    def window_ns(self) -> tuple[int, int] | None:
        """The time that counts; without a trim first sent to last end, of all requests."""
        if self.trim is not None:
            return self.trim.window_ns
        sent, end = happened(self.recording, "sent_ns"), happened(self.recording, "end_ns")
        if len(sent) == 0 or len(end) == 0 or end.max() <= sent.min():
            return None
        return int(sent.min()), int(end.max())

    @property
    def window_s(self) -> float | None:
        """What throughput is divided by."""
        return None if self.window_ns is None else (self.window_ns[1] - self.window_ns[0]) / NS

    @cached_property
    def shares(self) -> Floats:
        """How much of each completed request of the whole run was done within the time that counts: the share of the time
        from its first to its last token that lies in it."""
        rows, window = self.whole.requests, self.window_ns
        if window is None or self.whole is self:
            return np.ones(len(rows))
        last = rows["last_token_ns"]
        first = np.where(rows["first_token_ns"] == _engine.NONE, last, rows["first_token_ns"])
        done = [np.clip((edge - first) / np.maximum(last - first, 1), 0.0, 1.0) for edge in window]
        return np.where(last > first, done[1] - done[0], (last > window[0]) & (last <= window[1]))

    def work_per_s(self, amounts: Floats | None = None) -> float | None:
        """What was done in a second of the time that counts; amounts: of each completed request of the whole run (NaN: not
        known), None: the requests themselves."""
        if not self.window_s or (amounts is not None and np.isnan(amounts).all()):
            return None
        done = self.shares if amounts is None else self.shares * np.nan_to_num(amounts)
        return float(done.sum()) / self.window_s

    @property
    def output_tokens_per_s(self) -> float | None:
        return self.work_per_s(self.whole.field("output_tokens"))

    @property
    def total_tokens_per_s(self) -> float | None:
        """None without usage: a server that counts 0 prompt tokens has not counted."""
        prompt, output = self.whole.field("prompt_tokens"), self.whole.field("output_tokens")
        if not np.nansum(prompt) or np.isnan(output).all():
            return None
        return self.work_per_s(np.nan_to_num(prompt) + np.nan_to_num(output))

    @cached_property
    def is_open_loop(self) -> bool:
        return len(happened(self.recording, "scheduled_ns")) > 0

    def rate_of(self, instant: str) -> float | None:
        """Requests per second by one of their instants, of those of an open loop that were sent."""
        requests = self.recording.requests
        return per_s(requests[instant][requests["sent_ns"] != _engine.NONE]) if self.is_open_loop else None

    @cached_property
    def in_flight(self) -> InFlight:
        return sweep(self.recording.requests, self.window_ns)

    @cached_property
    def in_flight_at_send(self) -> Floats:
        """How many requests were in flight when each of these was sent."""
        return at_send(self.recording.requests, self.requests["sent_ns"])

    @cached_property
    def peak_output_tokens_per_s(self) -> float | None:
        return peak_output_tokens_per_s(self.recording)

    @cached_property
    def tokens_per_chunk(self) -> float | None:
        """Of streams whose tokens were not counted by their chunks."""
        rows = self.requests[(self.requests["chunks"] > 0) & (self.requests["tokens_source"] != CHUNKS)]
        rows = rows[rows["output_tokens"] != _engine.NONE]
        return float(rows["output_tokens"].sum() / rows["chunks"].sum()) if len(rows) else None

    # ---- what the server tells ----

    @cached_property
    def server_pages(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Its totals before and after the run (vllmperf.scrape.totals), empty where there are none."""
        pages: Mapping[str, Mapping[str, float]] = self.recording.counters.get("server") or {}
        return pages.get("before") or {}, pages.get("after") or {}

    @cached_property
    def drafts(self) -> Drafts:
        sums = (self.sum(name) for name in ("draft_steps", "draft_tokens", "accepted_tokens"))
        return drafts(Drafts(*sums), *self.server_pages)

    # ---- gaps ----

    @cached_property
    def has_gaps(self) -> Flags:
        """Requests whose gaps are known: all, unless the run file keeps those of a sample. Where it keeps none, nothing can
        be told from gaps, and all are asked all the same."""
        known: Flags = (self.requests["n_gaps"] > 0) | (self.requests["chunks"] <= self.requests["choices"])
        return known if self.recording.keep_gaps == "sample" else np.ones(len(known), dtype=np.bool_)

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


def per_s(instants_ns: NDArray[np.int64]) -> float | None:
    """The mean rate of events from the first to the last, of those that happened."""
    instants_ns = instants_ns[instants_ns != _engine.NONE]
    span_ns = int(instants_ns.max() - instants_ns.min()) if len(instants_ns) > 1 else 0
    return (len(instants_ns) - 1) * NS / span_ns if span_ns else None


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
