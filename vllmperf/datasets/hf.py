"""hf: conversations and questions of a Hugging Face data set, from the hub or a local file."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vllmperf.datasets.dataset import (
    Counter,
    DataSet,
    Estimate,
    Option,
    Prompt,
    Sample,
    Spec,
    needed,
    of_samples,
)
from vllmperf.datasets.rows import Row, rows
from vllmperf.datasets.sharegpt import is_fit
from vllmperf.errors import SettingError

if TYPE_CHECKING:
    import numpy as np

    from vllmperf.tokenizer.tokens import Tokens

SUBSET = Option("hf_subset", str, None, "subset of the data set, like main")
SPLIT = Option("hf_split", str, None, "split, like test (default: the data set's usual one, else train)")
BUFFER = 1000
"""Rows that the package datasets holds to shuffle a stream."""

Fields = Mapping[str, Any]
Taken = TypeVar("Taken")
Texts = Callable[[Fields], tuple[str, str | None]]
"""row → prompt, and the answer whose length is asked for (None: the data set's usual length)"""


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """Texts as they stand: a chat server puts them into its template. Without a tokenizer 4 bytes count as a token."""
    found = samples(
        tokens or Estimate(),
        path=spec.path,
        name=NAME.of(spec),
        subset=SUBSET.of(spec),
        split=SPLIT.of(spec),
        seed=spec.seed,
        output_len=spec.output_len,
        template=None,
    )
    return of_samples(spec, needed(spec, found))


def samples(
    tokens: Counter,
    *,
    path: str,
    name: str | None,
    subset: str | None,
    split: str | None,
    seed: int,
    output_len: int | None,
    template: Callable[[str], str] | None,
    shuffle: bool = True,
) -> Iterator[Sample]:
    """All usable rows. path: a file, or a data set of the hub. name says what the rows of a file are, by default
    conversations. template: puts a prompt into the model's chat template, where the original does so.

    Raises UsageError for data sets of other forms (images, audio).
    """
    known = KINDS.get(name or path)
    if known is None and not Path(path).is_file():
        raise SettingError(
            "{dataset_path} {path} is neither a file nor one of {known}: give one of them, or its name by {hf_name}",
            path=path,
            known=", ".join(KINDS),
        )
    kind = known or KINDS["Aeala/ShareGPT_Vicuna_unfiltered"]
    numbers = itertools.count()
    for row in _rows(path, subset, split or kind.split or "train", seed if shuffle else None):
        made = kind.sample(tokens, row, output_len, template)
        if made is not None:
            yield Sample(*made, next(numbers))


# ---- rows ----


def _rows(path: str, subset: str | None, split: str, seed: int | None) -> Iterable[Row]:
    """The rows in the order in which they are taken; seed None: as they stand."""
    from vllmperf import hub

    files = [Path(path)] if Path(path).is_file() else hub.dataset_files(path, subset, split)
    if seed is None:
        return itertools.chain.from_iterable(map(rows, files))
    return shuffled(itertools.chain.from_iterable(map(rows, _shuffled_files(files, seed))), seed)


def _shuffled_files(files: list[Path], seed: int) -> list[Path]:
    import numpy as np

    order = list(range(len(files)))
    np.random.default_rng(seed).shuffle(order)
    return [files[place] for place in order]


def shuffled(found: Iterable[Taken], seed: int) -> Iterator[Taken]:
    """As the package datasets shuffles a stream: a buffer of 1,000, from which one is drawn at a time."""
    import numpy as np

    draw = copy.deepcopy(np.random.default_rng(seed))
    buffer: list[Taken] = []
    places = _places(draw)
    for row in found:
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
        prompt: Texts,
        *,
        split: str | None = None,
        usual: int | None = None,
        is_templated: bool = False,
        longest: tuple[int, int] | None = None,
    ) -> None:
        self.split = split
        self._prompt, self._usual, self._is_templated, self._longest = prompt, usual, is_templated, longest

    def sample(
        self, tokens: Counter, row: Row, output_len: int | None, template: Callable[[str], str] | None
    ) -> tuple[str, int, int] | None:
        """(prompt, its tokens, tokens of the answer), or None for a row that is not used."""
        prompt, answer = self._texts(row)
        if not prompt:
            return None
        if self._is_templated and template is not None:
            prompt = template(prompt)
        prompt_len = tokens.count(prompt)
        if answer is None:
            return prompt, prompt_len, output_len or self._usual or 0
        length = tokens.count(answer) if output_len is None else output_len
        return (prompt, prompt_len, length) if self._fits(prompt_len, length, output_len) else None

    def _texts(self, row: Row) -> tuple[str, str | None]:
        try:
            prompt, answer = self._prompt(row.value)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else "is none of this data set"
            raise SettingError(
                "{place} {what}: check {hf_name} and {dataset_path}", place=row.place, what=what
            ) from None
        if not isinstance(prompt, str):
            raise row.bad("the prompt is no text")
        if self._usual is None and not isinstance(answer, str):
            raise row.bad("the answer is no text")
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


def _conversation(row: Fields) -> tuple[str, str | None]:
    turns = row["conversations"]
    return (turns[0]["value"], turns[1]["value"]) if len(turns) >= 2 else ("", "")


def _instruct_coder(row: Fields) -> tuple[str, str | None]:
    return (
        f"{row['input']}\n\n{row['instruction']} Just output the code, do not include any explanation.",
        None,
    )


def _zeta(row: Fields) -> tuple[str, str | None]:
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


NAME = Option(
    "hf_name", str, None, f"whose form the rows of a file or a copy have: one of {', '.join(KINDS)}"
)
DATASET = DataSet(
    name="hf",
    about="questions or conversations of the Hugging Face hub",
    path="NAME (of the hub) or FILE",
    prompts=prompts,
    own_lengths=("output",),
    options=(SUBSET, SPLIT, NAME),
)
