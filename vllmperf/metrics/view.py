"""The completed requests of a recording as arrays of nanoseconds: what every metric is computed from."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.drafts import Drafts, drafts
from vllmperf.metrics.gap_facts import GapFacts
from vllmperf.metrics.gap_values import GapValues, per_gap, per_token
from vllmperf.metrics.in_flight import InFlight, at_send, sweep
from vllmperf.metrics.peak import peak_output_tokens_per_s
from vllmperf.metrics.window import Trim
from vllmperf.record.gaps import GapBlock
from vllmperf.record.reader import Recording
from vllmperf.record.table import Requests

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Kind = TypeVar("Kind", bound="np.generic[Any]")

NS = 1e9
ROWS_AT_A_TIME = 65_536

COMPLETED = _engine.OUTCOMES.index("completed")
CHUNKS = _engine.TOKENS_SOURCES.index("chunks")


class Rows:
    """Requests as the engine records them. Times and differences are float64 ns, NaN = did not happen."""

    requests: Requests

    def __init__(self, requests: Requests) -> None:
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

    @property
    def tokens_per_choice(self) -> Floats:
        per_choice: Floats = self.field("output_tokens") / np.maximum(self.requests["choices"], 1)
        return per_choice

    def sum(self, name: str) -> int | None:
        """Sum of a field where it is known, None where it is known nowhere."""
        column = self.requests[name]
        column = column[column != _engine.NONE]
        return int(column.sum(dtype=np.int64)) if len(column) else None


class Block(Rows):
    """Some of the requests of a Completed that follow one another."""

    def __init__(self, done: "Completed", rows: slice) -> None:
        super().__init__(done.requests[rows])
        self._done, self._rows = done, rows

    @cached_property
    def gap_facts(self) -> GapFacts:
        return self._done.gap_facts[self._rows]

    @property
    def has_gaps(self) -> Flags:
        return self._done.has_gaps[self._rows]

    @property
    def gap_lengths(self) -> NDArray[np.uint32]:
        return self._done.gap_lengths[self._rows]


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

    def by_blocks(self, of: Callable[[Block], NDArray[Kind]], chosen: Flags | None = None) -> NDArray[Kind]:
        """A value of each request, or of those that are chosen, computed block by block, so that what `of` needs on the way
        takes little memory."""
        found = []
        for first in range(0, max(len(self.requests), 1), ROWS_AT_A_TIME):
            rows = slice(first, first + ROWS_AT_A_TIME)
            values = of(Block(self, rows))
            found.append(values if chosen is None else values[chosen[rows]])
        return np.concatenate(found)

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
    def in_order_of_send(self) -> NDArray[np.int32]:
        """The places of these requests, in the order in which they were sent."""
        return np.argsort(self.requests["sent_ns"], kind="stable").astype(np.int32)

    @cached_property
    def in_flight_at_send(self) -> NDArray[np.int32]:
        """How many requests were in flight when each of these was sent."""
        return at_send(self.recording.requests, self.requests["sent_ns"])

    @cached_property
    def in_flight_by_send(self) -> NDArray[np.int32]:
        """The same in the order in which they were sent."""
        return at_send(self.recording.requests, self.requests["sent_ns"][self.in_order_of_send])

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

    @property
    def gaps_ns(self) -> NDArray[np.float32]:
        """All of them: of a large run an array too long for comfort. gap_blocks() and itl_values give them in pieces."""
        gaps = self.recording.gaps_ns
        return gaps if self.mask.all() else gaps[np.repeat(self.mask, self.recording.requests["n_gaps"])]

    @cached_property
    def gap_lengths(self) -> NDArray[np.uint32]:
        """How many gaps each request has."""
        lengths: NDArray[np.uint32] = self.requests["n_gaps"]
        return lengths

    @property
    def n_gaps(self) -> int:
        return int(self.gap_lengths.sum(dtype=np.int64))

    def gap_blocks(self) -> Iterator[GapBlock]:
        """The gaps of these requests in pieces, whose rows are those of `requests`. Tokens of a gap's later chunk: a stream
        with as many chunks as tokens brought one in each."""
        one_each = (self.requests["output_tokens"] == self.requests["chunks"]) & (
            self.requests["tokens_source"] != CHUNKS
        )
        row = 0
        for block in self.recording.gap_blocks():
            counts = self.mask[block.rows]
            rows = slice(row, row + int(counts.sum()))
            yield _counted(block, counts, rows, one_each[rows])
            row = rows.stop

    @cached_property
    def gap_facts(self) -> GapFacts:
        """What the gaps of each of these requests say."""
        if self.whole is not self:
            return self.whole.gap_facts[self.mask[self.whole.mask]]
        return GapFacts.of(self.gap_blocks(), len(self.requests))

    @cached_property
    def itl_values(self) -> GapValues:
        return GapValues(self.gap_blocks, per_gap, self.gap_lengths)

    @cached_property
    def itl_token_values(self) -> GapValues:
        facts = self.gap_facts
        if (facts.known == self.gap_lengths).all() and (facts.tokens == facts.known).all():
            return self.itl_values  # the usual stream: one token in each chunk
        return GapValues(self.gap_blocks, per_token, facts.tokens)

    @cached_property
    def shared_share(self) -> float | None:
        """Share of the gaps whose length is an even split, because their chunks came in one read."""
        return self.n_shared / self.n_gaps if self.n_gaps else None

    @property
    def n_shared(self) -> int:
        return int(self.gap_facts.shared.sum(dtype=np.int64))


def _counted(block: GapBlock, counts: Flags, rows: slice, one_each: Flags) -> GapBlock:
    """A block without the gaps of requests that do not count. one_each: of those that do, whose chunks held one token each."""
    kept = block.only(counts, rows)
    if not one_each.any() or kept.tokens.all():
        return kept
    is_one = (kept.tokens == 0) & np.repeat(one_each, kept.lengths)
    return kept._replace(tokens=np.where(is_one, np.uint16(1), kept.tokens))


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
