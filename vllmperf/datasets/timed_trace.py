"""timed_trace: prompts and times of a trace of prefix hashes, as Mooncake and others publish (0.33)."""

from __future__ import annotations

import itertools
import math
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.datasets.files import json_lines
from vllmperf.datasets.sample import Chance, Sample
from vllmperf.datasets.siphash import string_hash
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Labels:
    """Names of a row's fields."""

    time: str = "timestamp"
    input_len: str = "input_length"
    output_len: str = "output_length"
    hashes: str = "hash_ids"


def samples(
    tokens: Tokens,
    chance: Chance,
    n: int,
    *,
    path: str,
    seed: int,
    block: int,
    seconds: float,
    labels: Labels,
) -> list[Sample]:
    """The first n rows. A hash stands for `block` token ids (fewer in the last one), the same in every row.

    seconds: of one unit of the rows' time. The original seeds each block with Python's hash of a string, which
    differs from process to process; here it is that of PYTHONHASHSEED=0 unless that is set to something else.
    """
    chance.seed(seed)
    blocks: dict[str, list[int]] = {}
    found = []
    for number, (line, row) in enumerate(itertools.islice(json_lines(path), n)):
        left, output_len, time_s = (
            _number(path, line, row, name) for name in (labels.input_len, labels.output_len, labels.time)
        )
        hashes = row.get(labels.hashes, [])
        if not isinstance(hashes, list):
            raise UsageError(f"{path} line {line}: {labels.hashes} is no list")
        ids = _ids(tokens, blocks, hashes, int(left), block)
        found.append(Sample(ids, len(ids), int(output_len), number, time_s * seconds))
    return found


def _number(path: str, line: int, row: Mapping[str, Any], name: str) -> float:
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{path} line {line}: {name} is missing or no number")
    return value


def _ids(tokens: Tokens, blocks: dict[str, list[int]], hashes: list[Any], left: int, block: int) -> list[int]:
    ids: list[int] = []
    for name in hashes:
        size = min(block, left)
        key = f"{name}:{size}"
        if key not in blocks:
            blocks[key] = random.Random(_hash(key) & 0xFFFFFFFF).choices(tokens.all_ids, k=size)
        ids += blocks[key]
        left -= size
        if left <= 0:
            break
    return ids


def _hash(text: str) -> int:
    chosen = os.environ.get("PYTHONHASHSEED", "random")
    return string_hash(text) if chosen in ("random", "0", "") else hash(text)
