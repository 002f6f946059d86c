"""Result tables that somebody pasted into a text: a log, a page, an issue. One file a tool; each finds its own tables."""

from __future__ import annotations

from vllmperf.formats.pasted import guidellm, llm_bench, named_fields, vllm
from vllmperf.formats.pasted.table import Table

READERS = (vllm, guidellm, llm_bench, named_fields)


def tables(text: str) -> list[Table]:
    """All tables in the order of the text."""
    lines = text.splitlines()
    return sorted((table for reader in READERS for table in reader.find(lines)), key=lambda table: table.line)
