"""hf: conversations of a Hugging Face data set that lies in a local file, or is loaded by the package datasets."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vllmperf.datasets.custom import templated
from vllmperf.datasets.files import json_lines, read_json
from vllmperf.datasets.sample import Chance, Sample, Version, filled_up, is_fit
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

BUFFER = 1000
"""Rows that the package datasets holds to shuffle a stream."""

Row = Mapping[str, Any]
Taken = TypeVar("Taken")
Prompt = Callable[[Row], tuple[str, str | None]]
"""row → prompt, and the answer whose length is asked for (None: the data set's usual length)"""


def samples(
    tokens: Tokens,
    chance: Chance,
    version: Version,
    n: int,
    *,
    path: str,
    name: str | None,
    subset: str | None,
    split: str | None,
    seed: int,
    output_len: int | None,
    is_chat: bool,  # noqa: ARG001 images would depend on it
    shuffle: bool = True,
    oversample: bool = True,
    skip_template: bool = False,
) -> list[Sample]:
    """n samples. name says what the rows are when path is a file; without one they are conversations.

    Raises UsageError for data sets of images or audio, and when the package datasets is needed and missing.
    """
    known = KINDS.get(name or path)
    if known is None and not Path(path).is_file():
        raise UsageError(f"--dataset-path {path}: give a local JSON file, or one of {', '.join(KINDS)}")
    kind = known or KINDS["Aeala/ShareGPT_Vicuna_unfiltered"]
    found: list[Sample] = []
    for place, row in _rows(path, subset, split or kind.split, seed, shuffle):
        if len(found) >= n:
            break
        made = kind.sample(tokens, place, row, output_len, skip_template)
        if made is not None:
            prompt, prompt_len, length = made
            found.append(Sample(prompt, prompt_len, length, len(found)))
    return found if version == "0.6" or not oversample else filled_up(found, n, chance, seed, version)


# ---- rows ----


def _rows(
    path: str, subset: str | None, split: str | None, seed: int, shuffle: bool
) -> Iterable[tuple[str, Row]]:
    """(where it stands, row), in the order in which they are taken."""
    if Path(path).is_file():
        found = _file_rows(path)
        return shuffled(found, seed) if shuffle else found
    try:
        import datasets  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise UsageError(
            f"--dataset-path {path} is no local file, and loading it needs the package datasets: "
            "pip install datasets"
        ) from None
    loaded: Any = datasets.load_dataset(path, name=subset, split=split, streaming=True)
    return ((f"a row of {path}", row) for row in (loaded.shuffle(seed=seed) if shuffle else loaded))


def _file_rows(path: str) -> list[tuple[str, Row]]:
    if path.endswith(".jsonl"):
        return [(f"{path} line {line}", row) for line, row in json_lines(path)]
    return [(f"{path} row {number}", row) for number, row in enumerate(read_json(path), 1)]


def shuffled(rows: Iterable[Taken], seed: int) -> Iterator[Taken]:
    """As the package datasets shuffles a stream of one file: a buffer of 1,000, from which one is drawn at a time."""
    draw = copy.deepcopy(np.random.default_rng(seed))
    buffer: list[Taken] = []
    places = _places(draw)
    for row in rows:
        if len(buffer) < BUFFER:
            buffer.append(row)
            continue
        place = next(places)
        yield buffer[place]
        buffer[place] = row
    draw.shuffle(buffer)
    yield from buffer


def _places(draw: np.random.Generator) -> Iterator[int]:
    while True:
        yield from (int(place) for place in draw.integers(0, BUFFER, size=BUFFER))


# ---- kinds of rows ----


class Kind:
    """What a row of one data set becomes. usual: its output length when none is asked for (None: the answer's)."""

    def __init__(
        self,
        prompt: Prompt,
        *,
        split: str | None = None,
        usual: int | None = None,
        is_templated: bool = False,
        longest: tuple[int, int] | None = None,
    ) -> None:
        self.split = split
        self._prompt, self._usual, self._is_templated, self._longest = prompt, usual, is_templated, longest

    def sample(
        self, tokens: Tokens, place: str, row: Row, output_len: int | None, skip_template: bool
    ) -> tuple[str, int, int] | None:
        """(prompt, its tokens, tokens of the answer), or None for a row that is not used. place: for UsageError."""
        prompt, answer = self._texts(place, row)
        if not prompt:
            return None
        if self._is_templated and not skip_template:
            (prompt,) = templated(tokens, [prompt])
        prompt_len = tokens.count(prompt)
        if answer is None:
            return prompt, prompt_len, output_len or self._usual or 0
        length = tokens.count(answer) if output_len is None else output_len
        return (prompt, prompt_len, length) if self._fits(prompt_len, length, output_len) else None

    def _texts(self, place: str, row: Row) -> tuple[str, str | None]:
        try:
            prompt, answer = self._prompt(row)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else "is none of this data set"
            raise UsageError(f"{place} {what}: check --hf-name and --dataset-path") from None
        if not isinstance(prompt, str):
            raise UsageError(f"{place}: the prompt is no text")
        if self._usual is None and not isinstance(answer, str):
            raise UsageError(f"{place}: the answer is no text")
        return prompt, answer

    def _fits(self, prompt_len: int, length: int, asked: int | None) -> bool:
        if asked is not None:
            return True
        if self._longest is None:
            return is_fit(prompt_len, length, is_fixed=False)
        longest_prompt, longest_total = self._longest
        return (
            prompt_len >= 4
            and length >= 4
            and prompt_len <= longest_prompt
            and prompt_len + length <= longest_total
        )


def _conversation(row: Row) -> tuple[str, str | None]:
    turns = row["conversations"]
    return (turns[0]["value"], turns[1]["value"]) if len(turns) >= 2 else ("", "")


def _instruct_coder(row: Row) -> tuple[str, str | None]:
    return (
        f"{row['input']}\n\n{row['instruction']} Just output the code, do not include any explanation.",
        None,
    )


def _zeta(row: Row) -> tuple[str, str | None]:
    asked = (
        "### Instruction:\nYou are a code completion assistant and your task is to analyze user edits and then "
        "rewrite an excerpt that the user provides, suggesting the appropriate edits within the excerpt, taking "
        "into account the cursor location.\n\n### User Edits:\n\n"
        f"{row['events']}\n\n### User Excerpt:\n\n{row['input']}\n\n### Response:\n\n"
    )
    output = row["output"]
    return asked, output[output.find("<|editable_region_start|>") :]


_MATH = Kind(lambda row: (row["problem"], row["solution"]), split="train", longest=(2048, 32000))
KINDS: Mapping[str, Kind] = {
    "Aeala/ShareGPT_Vicuna_unfiltered": Kind(_conversation),
    "likaixin/InstructCoder": Kind(_instruct_coder, split="train", usual=200, is_templated=True),
    "philschmid/mt-bench": Kind(
        lambda row: (row["turns"][0], None), split="train", usual=256, is_templated=True
    ),
    "openai/openai_humaneval": Kind(lambda row: (row["prompt"], None), split="test", usual=256),
    "openai/gsm8k": Kind(lambda row: (row["question"], None), split="test", usual=256, is_templated=True),
    "AI-MO/aimo-validation-aime": _MATH,
    "AI-MO/NuminaMath-1.5": _MATH,
    "AI-MO/NuminaMath-CoT": _MATH,
    "zed-industries/zeta": Kind(_zeta, split="train"),
}
"""Data sets of text; those of images, audio and tool calls come later."""
