"""spec_bench: the first turns of Spec-Bench's question.jsonl, then as custom (0.33)."""

from __future__ import annotations

from vllmperf.errors import UsageError
from vllmperf.load.datasets import custom
from vllmperf.load.datasets.files import read_json_lines
from vllmperf.load.datasets.sample import Chance, Sample
from vllmperf.load.datasets.tokens import Tokens

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
    rows = read_json_lines(path)
    if not rows or not all(row.get("turns") for row in rows):
        raise UsageError(f'{path}: every row needs "turns"')
    wanted = [{"prompt": row["turns"][0]} for row in rows if not category or row.get("category") == category]
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
