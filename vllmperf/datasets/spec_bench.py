"""spec_bench: the first turns of Spec-Bench's question.jsonl, then as custom (0.33)."""

from __future__ import annotations

from dataclasses import replace

from vllmperf.datasets import custom
from vllmperf.datasets.sample import Chance, Sample
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

SEED = 0
"""The original forgets to hand on --seed."""


def samples(
    tokens: Tokens,
    chance: Chance,
    n: int,
    *,
    path: str,
    category: str | None,
    output_len: int,
    shuffle: bool = True,
    oversample: bool = True,
) -> list[Sample]:
    """n samples of one category or of all, shuffled with seed 0 whatever --seed says."""
    rows = custom.rows_of(path)
    if not any("turns" in row.fields for row in rows):
        raise UsageError(f'{path}: every row needs "turns"')
    wanted = [_first_turn(row) for row in rows if not category or row.fields.get("category") == category]
    return custom.of_rows(
        tokens,
        chance,
        n,
        wanted,
        seed=SEED,
        output_len=output_len,
        skip_template=False,
        template_fields=None,
        shuffle=shuffle,
        oversample=oversample,
    )


def _first_turn(row: custom.Row) -> custom.Row:
    turns = row.fields.get("turns")
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], str):
        raise row.bad('the row has no text as the first of its "turns"')
    return replace(row, fields={"prompt": turns[0]})
