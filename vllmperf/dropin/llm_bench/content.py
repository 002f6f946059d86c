"""What the body of an answer says: its text, its tokens, when the first of it came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.dropin.llm_bench import providers
from vllmperf.dropin.llm_bench.options import Options
from vllmperf.dropin.llm_bench.raw import UnreadableError, read

COMPLETED = _engine.OUTCOMES.index("completed")
TRUNCATED = _engine.OUTCOMES.index("truncated")
UNREADABLE = tuple(_engine.OUTCOMES.index(name) for name in ("malformed", "stream_error"))
USAGE = _engine.TOKENS_SOURCES.index("usage")


@dataclass(frozen=True)
class Row:
    """A request as the engine kept it: its record, the stamps of its chunks, its text and its error."""

    record: dict[str, int]
    arrived_ns: NDArray[np.int64]
    text: str
    error: str

    def known(self, name: str) -> int | None:
        """A field of the record; None when it did not happen."""
        value = self.record[name]
        return None if value == _engine.NONE else value


@dataclass(frozen=True)
class Content:
    """first_ns: when the first output came, the end of the body where nothing is streamed.

    tokens: by log probabilities where they were asked for, else by usage, else chunks where usage cannot be right
    (usage_tokens is what it says then). unreadable: what makes no sense in it; lacking: it is well-formed and has no
    output.
    """

    text: str = ""
    first_ns: int | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    usage_tokens: int | None = None
    unreadable: str | None = None
    lacking: str | None = None


def rows(batch: _engine.Batch) -> Iterator[Row]:
    """The requests of a batch."""
    stamps = np.frombuffer(batch["stamps"], dtype=np.dtype(_engine.STAMP_DTYPE))["arrived_ns"]
    at, stamp, data = 0, 0, batch["bytes"]
    layout = np.dtype(_engine.RECORD_DTYPE)
    for values in np.frombuffer(batch["records"], dtype=layout).tolist():
        record = dict(zip(layout.names or (), values, strict=True))
        middle = at + record["text_len"]
        end = middle + record["error_len"]
        next_stamp = stamp + record["n_chunk_stamps"]
        text, error = (part.decode("utf-8", "replace") for part in (data[at:middle], data[middle:end]))
        yield Row(record, stamps[stamp:next_stamp], text, error)
        at, stamp = end, next_stamp


def content(row: Row, provider: str, options: Options) -> Content:
    """What a whole answer says; of one that the engine found wanting, nothing but why."""
    outcome = row.record["outcome"]
    if outcome in UNREADABLE:
        return Content(unreadable=row.error)
    # as in the original a stream that ends in order needs no [DONE] and no finish reason
    is_whole = outcome == COMPLETED or (outcome == TRUNCATED and row.record["clean_end"])
    if not is_whole:
        return Content(lacking=row.error or _engine.OUTCOMES[outcome].replace("_", " "))
    is_stream = bool(row.record["events"])
    if options.streams != is_stream:
        return Content(unreadable=f"the answer is {'a' if is_stream else 'no'} stream of events")
    return _raw(row, provider, options) if providers.is_raw(provider, options) else _scanned(row, options)


def _scanned(row: Row, options: Options) -> Content:
    """As the engine read it. Without usage a stream does not tell tokens: a chunk need not be one."""
    usage_tokens = row.known("usage_tokens")
    is_told = usage_tokens is not None
    is_believed = row.record["tokens_source"] == USAGE
    return Content(
        text=row.text.replace("\0", ""),  # stands between choices
        first_ns=row.known("first_token_ns" if options.streams else "last_token_ns"),
        tokens=row.known("output_tokens") if is_told else None,
        prompt_tokens=row.known("prompt_tokens"),
        cached_tokens=row.known("cached_tokens"),
        usage_tokens=None if is_believed else usage_tokens,
    )


def _raw(row: Row, provider: str, options: Options) -> Content:
    events = row.text.removesuffix("\n").split("\n") if options.streams else [row.text]
    try:
        found = read(provider, options, events)
    except UnreadableError as error:
        return Content(unreadable=str(error))
    first_ns = row.known("last_token_ns")
    if options.streams:
        is_there = found.first is not None and found.first < len(row.arrived_ns)
        first_ns = int(row.arrived_ns[found.first or 0]) if is_there else None
    lacking = None if found.text or options.embeddings else "empty response received"
    return Content(found.text, first_ns, found.tokens, found.prompt_tokens, lacking=lacking)
