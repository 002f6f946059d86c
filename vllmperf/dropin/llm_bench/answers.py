"""What came back for a request, with its times by llm_bench's definitions."""

from __future__ import annotations

from dataclasses import dataclass

import vllmperf._engine as _engine
from vllmperf.dropin.llm_bench.content import Content, Row, content, rows
from vllmperf.dropin.llm_bench.options import Options

NS = 1e9
CUT = _engine.OUTCOMES.index("incomplete")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One finished request. Times in s; end_s since the start of the run, the others since it was sent."""

    index: int
    end_s: float
    slot_wait_s: float
    total_s: float
    headers_s: float
    first_s: float | None
    content: Content

    @property
    def text(self) -> str:
        return self.content.text

    @property
    def generation_s(self) -> float:
        """From the first chunk to the end."""
        return 0.0 if self.first_s is None else self.total_s - self.first_s


def answers(batch: _engine.Batch, provider: str, options: Options) -> list[Answer]:
    """The requests of a batch in the order of their ends, those left out that were cut at the end of the run."""
    found = [
        _answer(row, content(row, provider, options)) for row in rows(batch) if row.record["outcome"] != CUT
    ]
    return sorted(found, key=lambda answer: answer.end_s)


def _answer(row: Row, found: Content) -> Answer:
    sent_ns, end_ns = row.record["sent_ns"], row.record["end_ns"]
    headers_ns = row.known("first_byte_ns")
    return Answer(
        index=row.record["index"],
        end_s=end_ns / NS,
        slot_wait_s=row.record["slot_wait_ns"] / NS,
        total_s=(end_ns - sent_ns) / NS,
        headers_s=((end_ns if headers_ns is None else headers_ns) - sent_ns) / NS,
        first_s=None if found.first_ns is None else (found.first_ns - sent_ns) / NS,
        content=found,
    )
