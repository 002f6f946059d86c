"""burstgpt: lengths of the answered GPT-4 rows of BurstGPT's CSV, with made-up prompts; its times are not used."""

from __future__ import annotations

import math

import numpy as np

from vllmperf.datasets.files import read_csv
from vllmperf.datasets.sample import Sample
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

MODEL, ANSWER = "Model", "Response tokens"
INPUT_COLUMN, OUTPUT_COLUMN = 2, 3
MISSING = ("", "NA", "N/A", "n/a", "NULL", "null", "None", "<NA>")


def samples(tokens: Tokens, n: int, *, path: str, seed: int) -> list[Sample]:
    """n rows drawn as pandas does (with replacement only when there are fewer); prompt i is the ids from i on."""
    rows = _rows(path)
    drawn = np.random.RandomState(seed).choice(len(rows), size=n, replace=n > len(rows))
    lengths = [_lengths(path, *rows[number]) for number in drawn]
    sequences = [
        ((number + np.arange(input_len)) % tokens.vocab_size).tolist()
        for number, (input_len, _) in enumerate(lengths)
    ]
    return [
        Sample(text, input_len, output_len, number)
        for number, (text, (input_len, output_len)) in enumerate(
            zip(tokens.decode(sequences), lengths, strict=True)
        )
    ]


def _rows(path: str) -> list[tuple[int, list[str]]]:
    """(number, cells) of the usable rows: of GPT-4, with an answer."""
    header, rows = read_csv(path)
    if MODEL not in header or ANSWER not in header:
        raise UsageError(f"{path} has not BurstGPT's columns (Timestamp, Model, Request tokens, ...)")
    model, answer = header.index(MODEL), header.index(ANSWER)
    found = [
        (number, row)
        for number, row in enumerate(rows, 1)
        if _cell(row, model) == "GPT-4" and _number(path, number, row, answer) > 0
    ]
    if not found:
        raise UsageError(f"{path} holds no GPT-4 row with an answer")
    return found


def _lengths(path: str, number: int, row: list[str]) -> tuple[int, int]:
    """(input tokens, output tokens). UsageError for a row that lacks one."""
    found = [_number(path, number, row, column) for column in (INPUT_COLUMN, OUTPUT_COLUMN)]
    if not all(math.isfinite(length) and length >= 0 for length in found):
        raise UsageError(f"{path} row {number}: request and response tokens must be numbers from 0 on")
    return int(found[0]), int(found[1])


def _cell(row: list[str], column: int) -> str:
    return row[column] if column < len(row) else ""


def _number(path: str, number: int, row: list[str], column: int) -> float:
    """NaN for a missing one, as pandas reads it."""
    text = _cell(row, column).strip()
    try:
        return math.nan if text in MISSING else float(text)
    except ValueError:
        raise UsageError(f"{path} row {number}: {text!r} is no number of tokens") from None
