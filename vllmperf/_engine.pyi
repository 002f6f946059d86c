"""The C core as Python sees it: the load engine, the stream parsers, the percentile math."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

OUTCOMES: tuple[str, ...]
"""Names of the outcomes; a record's `outcome` is an index into it."""
FINISH_REASONS: tuple[str, ...]
TOKENS_SOURCES: tuple[str, ...]
BODY_KINDS: tuple[str, ...]
RECORD_DTYPE: list[tuple[str, str]]
"""`numpy.dtype(RECORD_DTYPE)` is the layout of `Batch["records"]`; `NONE` in it means "did not happen"."""
GAP_DTYPE: list[tuple[str, str]]
STAMP_DTYPE: list[tuple[str, str]]
EVENT_DTYPE: list[tuple[str, str]]
EVENT_FLAGS: tuple[str, ...]
"""Names of the bits of an event's `flags`, from bit 0 on."""
NONE: int
FAILURES_WINDOW: int
"""max_recent_errors is of so many requests that ended last."""
LIBCURL_VERSION: str

class Batch(TypedDict):
    records: bytes
    gaps: bytes
    stamps: bytes
    events: bytes
    bytes: bytes

class Counters(TypedDict):
    """Live figures; reading them costs the engine nothing."""

    state: str  # "new", "warming", "running", "draining", "ended"
    start_mono_ns: int
    start_real_ns: int
    sent: int
    in_flight: int
    waiting: int  # of those in flight: without a first token, up to 20 ms old
    done: int
    completed: int
    chunks: int
    connections_opened: int
    silent_retries: int
    coalesced: int
    backlog: int
    lost: int  # requests and results that there was no memory for: they are in no batch
    cpu_s: float
    gave_up: str | None  # "max_errors" or "max_error_rate", when that limit ended the sending

class Engine:
    """Fires requests from its own threads, which never take the GIL.

    config: dict with every key of vllmperf.loadgen.run.engine_config(), and of these flags any: keep_events
    (Batch["events"] is filled, texts end in a NUL and the newest event without choices), raw_bodies (answers are
    no completions; the text is their data, a line an event), strict_events (data: null, a quoted [DONE] and words behind
    [DONE] are malformed), no_request_ids, uuid_request_ids (the number in 12 hex
    digits, see vllmperf.loadgen.request_id). only_port: connect to nothing but the addresses at this port, wherever a redirect
    leads.
    Life: feed() as often as wanted, start(), drain() until it returns None, close().
    """

    def __init__(self, config: dict[str, Any]) -> None: ...
    def feed(
        self,
        bodies: bytes,
        offsets: bytes,
        at_ns: bytes | None = None,
        numbers: bytes | None = None,
        sessions: bytes | None = None,
    ) -> None:
        """Queue requests: body i is bodies[offsets[i]:offsets[i+1]], due at at_ns[i] ns after the start (all int64). It is
        called numbers[i] in its id and its record; without numbers they are counted from the first one fed on. sessions:
        which session each is of, for the configuration's session_header ("x-session-id: run-", the number goes behind it).

        Everything is copied. Times need not ascend, neither within a feed nor from one to the next. ValueError for
        offsets that do not rise within bodies, and for times more than 30 years from the start."""
    def feed_end(self) -> None:
        """No more requests will come: the run ends when those fed are finished."""
    def start(self, at_real_ns: int = 0) -> None:
        """Start the threads. The schedule begins at at_real_ns (ns since 1970, UTC); with 0, or a time that has passed, as
        soon as the connections are open. They are opened a few seconds before."""
    def drain(self, timeout_s: float) -> Batch | None:
        """Wait until timeout_s has passed or the run has ended, then give what finished; None when all was given."""
    def stop(self, now: bool = False) -> None:
        """Send no more; what is in flight has the grace period, or with now=True is cut at once."""
    def counters(self) -> Counters: ...
    def histograms(self) -> dict[str, Histogram]:
        """schedule_lag, client_lag, loop, connect (ns) so far; of several threads also those of each: loop.0, loop.1."""
    def close(self) -> None: ...

def usable_cores() -> int:
    """Cores that this process may keep busy, by CPU affinity and the limits of control groups; at least 1."""

class Histogram:
    """Log-linear histogram of non-negative ns, relative error at most 1/2048; adding is exact."""

    def __init__(self) -> None: ...
    def add(self, values: Any) -> None:
        """Add an int, or every value of a contiguous float32, float64 or int64 buffer."""
    def merge(self, other: Histogram) -> None: ...
    def quantile(self, q: float) -> float: ...
    def pack(self) -> bytes: ...
    @staticmethod
    def unpack(data: bytes) -> Histogram: ...
    @property
    def count(self) -> int: ...
    @property
    def min(self) -> int: ...
    @property
    def max(self) -> int: ...
    @property
    def mean(self) -> float: ...
    @property
    def std(self) -> float: ...

def quantile(values: NDArray[np.float64] | NDArray[np.float32], q: Sequence[float]) -> list[float]:
    """numpy.quantile(values.astype(numpy.float64), q), bit for bit, from a copy of the values."""

def moments(values: NDArray[np.float64] | NDArray[np.float32]) -> tuple[float, float]:
    """Mean and population variance."""

def sse_parse(pieces: Sequence[bytes], max_bytes: int = ..., end: bool = True) -> list[tuple[bytes, bytes]]:
    """The (type, data) events of a stream that came in these pieces. ValueError when a line is too long."""

def delta_scan(data: bytes) -> dict[str, Any] | None:
    """What delta.h reads of one event: None for [DONE]; ValueError for what is no JSON object."""

class LineScanner:
    """Finds the lines that hold one of some needles, all needles in one pass over the bytes.

    ValueError when there is no needle, or one that is empty or holds a line feed.
    """

    def __init__(self, needles: Sequence[bytes]) -> None: ...
    def find(self, block: bytes) -> tuple[list[tuple[int, int, int]], int]:
        """([(line from 0, start, end)], lines in the block)."""
