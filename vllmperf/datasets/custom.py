"""custom: prompts of a JSON lines file, in the model's chat template unless told otherwise (0.33)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllmperf.datasets.files import json_lines
from vllmperf.datasets.sample import Chance, Sample, filled_up
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

AS_IN_FILE = -1


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file and where it stands."""

    path: str
    line: int
    fields: Mapping[str, Any]

    def bad(self, what: str) -> UsageError:
        return UsageError(f"{self.path} line {self.line}: {what}")

    def text(self, name: str) -> str:
        """The field's text. UsageError when it has none."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise self.bad(f'the row has no text "{name}"')
        return value


def rows_of(path: str) -> list[Row]:
    """All rows of a JSON lines file."""
    return [Row(path, line, fields) for line, fields in json_lines(path)]


def samples(
    tokens: Tokens | None,
    chance: Chance,
    n: int,
    *,
    path: str,
    seed: int,
    output_len: int | None,
    skip_template: bool = False,
    template_fields: Mapping[str, Any] | None = None,
    shuffle: bool = True,
    oversample: bool = True,
) -> list[Sample]:
    """n samples (all rows for 0 and below) of rows {"prompt": ..., "output_tokens": ...}.

    output_len -1 or None takes the row's own. Without a tokenizer prompts go out as they are and all lengths are 1.
    """
    if not path.endswith(".jsonl"):
        raise UsageError(f"--dataset-path {path}: the custom data set reads .jsonl files")
    rows = rows_of(path)
    if not any("prompt" in row.fields for row in rows):
        raise UsageError(f'{path}: every row needs a "prompt"')
    return of_rows(
        tokens,
        chance,
        n,
        rows,
        seed=seed,
        output_len=output_len,
        skip_template=skip_template,
        template_fields=template_fields,
        shuffle=shuffle,
        oversample=oversample,
    )


def of_rows(
    tokens: Tokens | None,
    chance: Chance,
    n: int,
    rows: list[Row],
    *,
    seed: int,
    output_len: int | None,
    skip_template: bool,
    template_fields: Mapping[str, Any] | None,
    shuffle: bool,
    oversample: bool,
) -> list[Sample]:
    """The same for rows from elsewhere."""
    chance.python.seed(seed)
    if shuffle:
        chance.python.shuffle(rows)
    n = n if n > 0 else len(rows)
    taken = rows[:n]
    if tokens is None:
        found = [Sample(_any_prompt(row), 1, 1, number) for number, row in enumerate(taken)]
    else:
        texts = [row.text("prompt") for row in taken]
        if not skip_template:
            texts = templated(tokens, texts, template_fields)
        lengths = [_output_len(row, output_len) for row in taken]
        found = [
            Sample(text, prompt_len, length, number)
            for number, (text, prompt_len, length) in enumerate(
                zip(texts, tokens.counts(texts), lengths, strict=True)
            )
        ]
    return filled_up(found, n, chance, seed) if oversample else found


def templated(tokens: Tokens, texts: Sequence[str], fields: Mapping[str, Any] | None = None) -> list[str]:
    """Each text as a user's only message."""
    return [tokens.chat([{"role": "user", "content": text}], **(fields or {})) for text in texts]


def _any_prompt(row: Row) -> str | list[Any]:
    """Without a tokenizer lists of token ids or messages go out as they are too."""
    prompt = row.fields.get("prompt")
    return prompt if isinstance(prompt, list) and prompt else row.text("prompt")


def _output_len(row: Row, asked: int | None) -> int:
    if asked is not None and asked != AS_IN_FILE:
        return asked
    try:
        return int(row.fields["output_tokens"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise row.bad('the row has no number "output_tokens": give --custom-output-len') from None
