"""timed_trace: prompts and times of a trace of prefix hashes, as Mooncake and others publish."""

from __future__ import annotations

import itertools
import math
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vllmperf.datasets.dataset import DataSet, Option, Prompt, Reuse, Sample, Spec, repeated
from vllmperf.datasets.made_up import SAFE_IDS, Alphabet
from vllmperf.datasets.reuse import chain, reuse_of_blocks
from vllmperf.datasets.rows import LINES, Row, rows
from vllmperf.datasets.siphash import string_hash

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

BLOCK = Option("timed_trace_chunk_hash_size", int, 16, "tokens that one hash stands for", least=1)
SECONDS = Option(
    "timed_trace_sec_multiplier", float, 1.0, "seconds of one unit of the trace's times", least=0
)
TIME = Option("timed_trace_label_timestamp", str, "timestamp", "field of the time")
INPUT = Option("timed_trace_label_input_length", str, "input_length", "field of the prompt's tokens")
OUTPUT = Option("timed_trace_label_output_length", str, "output_length", "field of the answer's tokens")
HASHES = Option("timed_trace_label_hash_ids", str, "hash_ids", "field of the hashes")


class Labels(NamedTuple):
    """Names of a row's fields."""

    time: str = "timestamp"
    input_len: str = "input_length"
    output_len: str = "output_length"
    hashes: str = "hash_ids"


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """The rows in order: token ids, else text. Without a tokenizer ids that every vocabulary has, else words."""
    alphabet = Alphabet(spec.takes_ids)
    ids = range(len(SAFE_IDS)) if tokens is None else tokens.all_ids
    return repeated(spec, (_prompt(spec, sample, alphabet, tokens) for sample in _samples(spec, ids)))


def times_s(spec: Spec) -> list[float]:
    """When each row was sent."""
    return [sample.time_s or 0.0 for sample in _samples(spec, [0])]


def reuse(spec: Spec) -> tuple[Reuse, int]:
    """By the hashes of the rows, one after the other. Of a last block that is not full nothing is found."""
    block, labels = BLOCK.of(spec), _labels(spec)
    lengths = (
        (_hashes(row, labels), int(_number(row, labels.input_len)))
        for row in _rows(spec.path, spec.num_prompts)
    )
    full = ((hashes[: length // block], min(length, len(hashes) * block)) for hashes, length in lengths)
    return reuse_of_blocks(((list(chain(hashes, 1)), length) for hashes, length in full), block), block


DATASET = DataSet(
    name="timed_trace",
    about="prompts, lengths and times of a trace of prefix hashes",
    path="FILE (JSON lines)",
    prompts=prompts,
    options=(BLOCK, SECONDS, TIME, INPUT, OUTPUT, HASHES),
    is_made_up=True,
    times_s=times_s,
    reuse=reuse,
)


def _samples(spec: Spec, ids: Sequence[int]) -> Iterable[Sample]:
    return samples(
        ids,
        spec.num_prompts,
        path=spec.path,
        block=BLOCK.of(spec),
        seconds=SECONDS.of(spec),
        labels=_labels(spec),
    )


def _labels(spec: Spec) -> Labels:
    return Labels(TIME.of(spec), INPUT.of(spec), OUTPUT.of(spec), HASHES.of(spec))


def _prompt(spec: Spec, sample: Sample, alphabet: Alphabet, tokens: Tokens | None) -> Prompt:
    ids = [number for number in sample.prompt if isinstance(number, int)]
    answer = spec.output_len or max(1, sample.output_len)
    if tokens is None:
        return Prompt(alphabet.json(alphabet.members(ids)), answer, len(ids))
    if spec.takes_ids:
        return Prompt.of(ids, answer, len(ids))
    text = tokens.decode_one(ids)
    return Prompt.of(text, answer, tokens.count(text))


def samples(
    ids: Sequence[int], n: int | None, *, path: str, block: int, seconds: float, labels: Labels
) -> list[Sample]:
    """The first n rows. A hash stands for `block` of these token ids (fewer in the last one), the same in every row.

    seconds: of one unit of the rows' time. The original seeds each block with Python's hash of a string, which
    differs from process to process; here it is that of PYTHONHASHSEED=0 unless that is set to something else.
    """
    blocks: dict[str, list[int]] = {}
    found: list[Sample] = []
    for row in _rows(path, n):
        left, output_len, time_s = (
            _number(row, name) for name in (labels.input_len, labels.output_len, labels.time)
        )
        prompt = _ids(ids, blocks, _hashes(row, labels), int(left), block)
        found.append(Sample(prompt, len(prompt), int(output_len), len(found), time_s * seconds))
    return found


def _rows(path: str, n: int | None) -> Iterator[Row]:
    return itertools.islice(rows(path, form=LINES[0]), n)


def _hashes(row: Row, labels: Labels) -> list[object]:
    hashes = row.fields.get(labels.hashes, [])
    if not isinstance(hashes, list):
        raise row.bad(f"{labels.hashes} is no list")
    return hashes


def _number(row: Row, name: str) -> float:
    try:
        value = float(row.fields[name])
    except (KeyError, TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise row.bad(f"{name} is missing or no number")
    return value


def _ids(
    known: Sequence[int], blocks: dict[str, list[int]], hashes: list[object], left: int, block: int
) -> list[int]:
    ids: list[int] = []
    for name in hashes:
        size = min(block, left)
        key = f"{name}:{size}"
        if key not in blocks:
            blocks[key] = random.Random(_hash(key) & 0xFFFFFFFF).choices(known, k=size)
        ids += blocks[key]
        left -= size
        if left <= 0:
            break
    return ids


def _hash(text: str) -> int:
    chosen = os.environ.get("PYTHONHASHSEED", "random")
    return string_hash(text) if chosen in ("random", "0", "") else hash(text)
