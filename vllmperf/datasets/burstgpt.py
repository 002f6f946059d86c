"""burstgpt: lengths of the answered GPT-4 rows of BurstGPT's CSV, with made-up prompts; its times are not used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vllmperf.datasets.dataset import DataSet, Prompt, Sample, Spec, counted, repeated
from vllmperf.datasets.made_up import Alphabet
from vllmperf.datasets.rows import Row, rows
from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

MODEL, ANSWER = "Model", "Response tokens"
INPUT_COLUMN, OUTPUT_COLUMN = 2, 3
MISSING = ("", "NA", "N/A", "n/a", "NULL", "null", "None", "<NA>")


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """As vllm bench serve draws them; without a tokenizer the same lengths of other prompts."""
    if tokens is not None:
        return counted(spec, tokens, samples(tokens, spec.num_prompts, path=spec.path, seed=spec.seed))
    alphabet = Alphabet(spec.takes_ids)
    begun = alphabet.begun([])
    drawn = enumerate(lengths(spec.path, spec.num_prompts, spec.seed))
    made = (
        Prompt(
            alphabet.distinct(begun, number, number, max(1, input_len)), spec.output_len or answer, input_len
        )
        for number, (input_len, answer) in drawn
    )
    return repeated(spec, made)


DATASET = DataSet(
    name="burstgpt",
    about="lengths of BurstGPT's GPT-4 requests with made-up prompts",
    path="FILE (CSV)",
    prompts=prompts,
    is_made_up=True,
)


def samples(tokens: Tokens, n: int | None, *, path: str, seed: int) -> list[Sample]:
    """n rows; prompt i is the ids from i on."""
    found = lengths(path, n, seed)
    vocab = tokens.vocab_size
    sequences = [
        [(number + k) % vocab for k in range(input_len)] for number, (input_len, _) in enumerate(found)
    ]
    made = enumerate(zip(tokens.decode(sequences), found, strict=True))
    return [Sample(text, input_len, output_len, number) for number, (text, (input_len, output_len)) in made]


def lengths(path: str, n: int | None, seed: int) -> list[tuple[int, int]]:
    """(input tokens, output tokens) of n rows drawn as pandas does, with replacement only when there are fewer.

    n None: of all rows, in a drawn order.
    """
    import numpy as np

    found = _rows(path)
    size = len(found) if n is None else n
    drawn = np.random.RandomState(seed).choice(len(found), size=size, replace=size > len(found))
    return [_lengths(found[number]) for number in drawn]


def _rows(path: str) -> list[Row]:
    """The usable rows: of GPT-4, with an answer."""
    everything = list(rows(path, form=".csv"))
    if everything and not {MODEL, ANSWER} <= everything[0].fields.keys():
        raise UsageError(f"{path} has not BurstGPT's columns (Timestamp, Model, Request tokens, ...)")
    found = [
        row for row in everything if row.fields[MODEL] == "GPT-4" and _number(row, row.fields[ANSWER]) > 0
    ]
    if not found:
        raise UsageError(f"{path} holds no GPT-4 row with an answer")
    return found


def _lengths(row: Row) -> tuple[int, int]:
    """(input tokens, output tokens). UsageError for a row that lacks one."""
    cells = list(row.fields.values())
    found = [_number(row, cells[column]) for column in (INPUT_COLUMN, OUTPUT_COLUMN)]
    if not all(math.isfinite(length) and length >= 0 for length in found):
        raise row.bad("request and response tokens must be numbers from 0 on")
    return int(found[0]), int(found[1])


def _number(row: Row, cell: str | None) -> float:
    """NaN for a missing one, as pandas reads it."""
    text = (cell or "").strip()
    try:
        return math.nan if text in MISSING else float(text)
    except ValueError:
        raise row.bad(f"{text!r} is no number of tokens") from None
