"""custom: the prompts of a JSON lines file, in its order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vllmperf.datasets.dataset import DataSet, Estimate, Prompt, Spec, needed, repeated
from vllmperf.datasets.rows import LINES, Row, rows

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

OUTPUT_LEN = 256


def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
    """Rows {"prompt": a text or a list of token ids, "output_tokens": where no length is asked for}."""
    counter = tokens or Estimate()
    return repeated(
        spec, [_prompt(spec, counter, row) for row in needed(spec, rows(spec.path, form=LINES[0]))]
    )


DATASET = DataSet(
    name="custom",
    about='rows {"prompt": text or token ids, "output_tokens": number}, in their order',
    path="FILE (JSON lines)",
    prompts=prompts,
    own_lengths=("output",),
)


def _prompt(spec: Spec, counter: Any, row: Row) -> Prompt:
    content = _content(row, spec.takes_ids)
    length = _length(row)
    input_len = counter.count(content) if isinstance(content, str) else len(content)
    return Prompt.of(content, spec.output_len or length or OUTPUT_LEN, input_len)


def _content(row: Row, takes_ids: bool) -> str | list[int]:
    if "prompt" not in row.fields:
        raise row.bad('the row has no "prompt"')
    prompt = row.fields["prompt"]
    if _is_ids(prompt) and not takes_ids:
        raise row.bad('"prompt" is a list of token ids, chat needs a text')
    if not _is_ids(prompt) and not (isinstance(prompt, str) and prompt):
        raise row.bad('"prompt" must be a text or a list of token ids, and not be empty')
    return prompt if isinstance(prompt, str) else list(prompt)


def _length(row: Row) -> int | None:
    length = row.fields.get("output_tokens")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise row.bad('"output_tokens" must be a whole number above 0')
    return length


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and item >= 0 for item in value)
