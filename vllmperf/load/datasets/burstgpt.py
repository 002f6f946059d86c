"""burstgpt: lengths of the answered GPT-4 rows of BurstGPT's CSV, with made-up prompts; its times are not used."""

from __future__ import annotations

import numpy as np

from vllmperf.errors import UsageError
from vllmperf.load.datasets.files import read_csv
from vllmperf.load.datasets.sample import Sample
from vllmperf.load.datasets.tokens import Tokens

MODEL, ANSWER = "Model", "Response tokens"
INPUT_COLUMN, OUTPUT_COLUMN = 2, 3


def samples(tokens: Tokens, n: int, *, path: str, seed: int) -> list[Sample]:
    """n rows drawn as pandas does (with replacement only when there are fewer); prompt i is the ids from i on."""
    rows = _rows(path)
    drawn = np.random.RandomState(seed).choice(len(rows), size=n, replace=n > len(rows))
    lengths = [rows[number] for number in drawn]
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


def _rows(path: str) -> list[tuple[int, int]]:
    """(input tokens, output tokens) of the usable rows."""
    header, rows = read_csv(path)
    try:
        model, answer = header.index(MODEL), header.index(ANSWER)
        found = [
            (int(float(row[INPUT_COLUMN])), int(float(row[OUTPUT_COLUMN])))
            for row in rows
            if row[model] == "GPT-4" and float(row[answer]) > 0
        ]
    except (ValueError, IndexError):
        raise UsageError(
            f"{path} has not BurstGPT's columns (Timestamp, Model, Request tokens, ...)"
        ) from None
    if not found:
        raise UsageError(f"{path} holds no GPT-4 row with an answer")
    return found
