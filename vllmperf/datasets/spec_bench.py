"""spec_bench: the first turns of Spec-Bench's question.jsonl, shuffled."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vllmperf.datasets.dataset import DataSet, Estimate, Lengths, Option, Prompt, Spec, repeated
from vllmperf.datasets.rows import LINES, Row, rows
from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

CATEGORY = Option("spec_bench_category", str, None, "only questions of this category, like coding")


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """The text as it stands: a chat server puts it into its template."""
    texts = [text for _, text in first_turns(spec.path, CATEGORY.of(spec))]
    random.Random(spec.seed).shuffle(texts)
    lengths = (tokens or Estimate()).counts(texts)
    output_len = spec.lengths(DATASET.lengths).output
    made = zip(texts, lengths, strict=True)
    return repeated(spec, (Prompt.of(text, output_len, length) for text, length in made))


DATASET = DataSet(
    name="spec_bench",
    about="questions of Spec-Bench, of one category or of all",
    path="FILE (JSON lines)",
    prompts=prompts,
    lengths=Lengths(output=256),
    own_lengths=("output",),
    options=(CATEGORY,),
)


def first_turns(path: str, category: str | None) -> list[tuple[Row, str]]:
    """(row, first turn) of a category, or of all. UsageError for a row without one."""
    found = list(rows(path, form=LINES[0]))
    if not any("turns" in row.fields for row in found):
        raise UsageError(f'{path}: every row needs "turns"')
    return [
        (row, _first_turn(row)) for row in found if not category or row.fields.get("category") == category
    ]


def _first_turn(row: Row) -> str:
    turns = row.fields.get("turns")
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], str):
        raise row.bad('the row has no text as the first of its "turns"')
    return turns[0]
