"""What came back for one request, from the engine's record: counts and times by llm_bench's definitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vllmperf import _engine
from vllmperf.compat.llm_bench.options import Options

NS = 1e9
COMPLETED = _engine.OUTCOMES.index("completed")
CUT = _engine.OUTCOMES.index("incomplete")
NO_TOKENS = _engine.OUTCOMES.index("no_tokens")
UNREADABLE = tuple(_engine.OUTCOMES.index(name) for name in ("malformed", "stream_error"))
USAGE = _engine.TOKENS_SOURCES.index("usage")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One finished request. Times in s; None: did not happen, or the server did not say.

    first_s: from sending to the first chunk with output, to the end of the body where nothing is streamed.
    tokens: by log probabilities where they were asked for, else by usage.
    """

    index: int
    end_s: float
    slot_wait_s: float
    total_s: float
    headers_s: float
    first_s: float | None
    tokens: int | None
    prompt_tokens: int | None
    cached_tokens: int | None
    text: str
    error: str | None
    is_unreadable: bool

    @property
    def generation_s(self) -> float:
        """From the first chunk to the end."""
        return self.total_s - (self.total_s if self.first_s is None else self.first_s)


def answers(batch: _engine.Batch, options: Options) -> list[Answer]:
    """The requests of a batch in the order of their ends, those left out that were cut at the end of the run."""
    found = [_answer(record, text, error, options) for record, text, error in _rows(batch)]
    return sorted((answer for answer in found if answer is not None), key=lambda answer: answer.end_s)


def _rows(batch: _engine.Batch) -> Iterator[tuple[Any, str, str]]:
    at, data = 0, batch["bytes"]
    for record in np.frombuffer(batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE)):
        middle = at + int(record["text_len"])
        end = middle + int(record["error_len"])
        yield record, data[at:middle].decode("utf-8", "replace"), data[middle:end].decode("utf-8", "replace")
        at = end


def _answer(record: Any, text: str, error: str, options: Options) -> Answer | None:
    outcome = int(record["outcome"])
    if outcome == CUT:
        return None
    sent_ns, end_ns = int(record["sent_ns"]), int(record["end_ns"])
    headers_ns = _known(record, "first_byte_ns")
    first_ns = _known(record, "first_token_ns" if options.streams else "last_token_ns")
    is_good = outcome == COMPLETED or (options.embeddings and outcome == NO_TOKENS and not error)
    if is_good and first_ns is None:
        is_good, outcome, error = False, UNREADABLE[0], "the answer was no stream of events"
    return Answer(
        index=int(record["index"]),
        end_s=end_ns / NS,
        slot_wait_s=int(record["slot_wait_ns"]) / NS,
        total_s=(end_ns - sent_ns) / NS,
        headers_s=((headers_ns or end_ns) - sent_ns) / NS,
        first_s=None if first_ns is None else (first_ns - sent_ns) / NS,
        tokens=_tokens(record, options),
        prompt_tokens=_known(record, "prompt_tokens"),
        cached_tokens=_known(record, "cached_tokens"),
        text=text.replace("\0", ""),
        error=None if is_good else error or _engine.OUTCOMES[outcome].replace("_", " "),
        is_unreadable=outcome in UNREADABLE,
    )


def _known(record: Any, name: str) -> int | None:
    value = int(record[name])
    return None if value == _engine.NONE else value


def _tokens(record: Any, options: Options) -> int | None:
    """Without log probabilities a stream says nothing of tokens but by its usage: chunks are none."""
    is_told = int(record["tokens_source"]) == USAGE or options.logprobs is not None
    return _known(record, "output_tokens") if is_told else None
