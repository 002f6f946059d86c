"""custom and spec_bench as 0.33 sends them: shuffled, each prompt in the model's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllmperf.datasets import spec_bench as questions
from vllmperf.datasets.chance import Chance
from vllmperf.datasets.dataset import Sample
from vllmperf.datasets.rows import Row, rows
from vllmperf.dropin.benchmark_serving.versions import filled_up
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

AS_IN_FILE = -1
SPEC_BENCH_SEED = 0
"""The original forgets to hand on --seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How rows become samples. output_len -1 or None takes the row's own."""

    seed: int
    output_len: int | None
    skip_template: bool = False
    template_fields: Mapping[str, Any] | None = None
    shuffle: bool = True
    oversample: bool = True


def custom(tokens: Tokens | None, chance: Chance, n: int, path: str, ways: Ways) -> list[Sample]:
    """n samples (all rows for 0 and below) of rows {"prompt": ..., "output_tokens": ...}.

    Without a tokenizer prompts go out as they are and all lengths are 1.
    """
    if not path.endswith(".jsonl"):
        raise UsageError(f"--dataset-path {path}: the custom data set reads .jsonl files")
    found = list(rows(path))
    if not any("prompt" in row.fields for row in found):
        raise UsageError(f'{path}: every row needs a "prompt"')
    taken, n = _taken(found, chance, n, ways)
    if tokens is None:
        samples = [Sample(_any_prompt(row), 1, 1, number) for number, row in enumerate(taken)]
    else:
        samples = _samples(tokens, [(row, row.text("prompt")) for row in taken], ways)
    return filled_up(samples, n, chance, ways.seed) if ways.oversample else samples


def spec_bench(
    tokens: Tokens, chance: Chance, n: int, path: str, category: str | None, ways: Ways
) -> list[Sample]:
    """n samples of one category or of all."""
    taken, n = _taken(questions.first_turns(path, category), chance, n, ways)
    samples = _samples(tokens, taken, ways)
    return filled_up(samples, n, chance, ways.seed) if ways.oversample else samples


def templated(tokens: Tokens, text: str, fields: Mapping[str, Any] | None = None) -> str:
    """The text as a user's only message."""
    return tokens.chat([{"role": "user", "content": text}], **(fields or {}))


def _taken(found: list[Any], chance: Chance, n: int, ways: Ways) -> tuple[list[Any], int]:
    chance.python.seed(ways.seed)
    if ways.shuffle:
        chance.python.shuffle(found)
    n = n if n > 0 else len(found)
    return found[:n], n


def _samples(tokens: Tokens, taken: Sequence[tuple[Row, str]], ways: Ways) -> list[Sample]:
    texts = [text for _, text in taken]
    if not ways.skip_template:
        texts = [templated(tokens, text, ways.template_fields) for text in texts]
    lengths = [_output_len(row, ways.output_len) for row, _ in taken]
    made = zip(texts, tokens.counts(texts), lengths, strict=True)
    return [
        Sample(text, prompt_len, length, number) for number, (text, prompt_len, length) in enumerate(made)
    ]


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
