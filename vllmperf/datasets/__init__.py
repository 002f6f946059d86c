"""The data sets: one file each, with a DATASET that says everything about it.

A new data set is a new file in this folder: `vllmperf bench`, its help, Python and the table of docs/datasets.md find it
by its DATASET. Prompts of a seed are those of `vllm bench serve` with the same seed, where that has the data set.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from vllmperf.datasets.dataset import Conversation, DataSet, Lengths, Option, Prompt, Spec, Value
from vllmperf.errors import SettingError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

__all__ = [
    "Conversation",
    "DataSet",
    "Lengths",
    "Prompt",
    "Spec",
    "checked",
    "options",
    "prompts",
    "sessions",
    "table",
    "times_s",
]

FIRST = "random"
"""The default, named before the others."""


@cache
def table() -> Mapping[str, DataSet]:
    """Every data set by its name, as --dataset-name takes it."""
    modules = (
        importlib.import_module(f"{__name__}.{entry.name}") for entry in pkgutil.iter_modules(__path__)
    )
    found = [module.DATASET for module in modules if hasattr(module, "DATASET")]
    return {each.name: each for each in sorted(found, key=lambda each: (each.name != FIRST, each.name))}


def options() -> Mapping[str, Option]:
    """The options of all data sets by name."""
    return {option.name: option for each in table().values() for option in each.options}


def checked(dataset_name: str, given: Mapping[str, object]) -> dict[str, Value]:
    """Options of a data set, each of its kind. Raises SettingError for another one's."""
    known = {option.name: option for option in table()[dataset_name].options}
    other = next((name for name in given if name not in known), None)
    if other is not None:
        theirs = f": it has {', '.join(known)}" if known else ""
        words = "{" + other + "} is no setting of the data set {name}{theirs}"
        raise SettingError(words, name=dataset_name, theirs=theirs)
    return {name: known[name].checked(value) for name, value in given.items()}


def prompts(spec: Spec) -> Iterator[Prompt]:
    """The prompts that are asked for, in order, as many as spec.num_prompts, or without end.

    Raises UsageError for a bad row, before the first prompt wherever that is possible.
    """
    tokens, spec = _tokens(spec), _with_file(spec)
    return itertools.islice(table()[spec.dataset_name].prompts(spec, tokens), spec.num_prompts)


def sessions(spec: Spec) -> Iterator[Conversation]:
    """Those of a data set that has some, in order, as many as spec.num_prompts, or without end. Raises UsageError."""
    tokens, spec, found = _tokens(spec), _with_file(spec), table()[spec.dataset_name].conversations
    assert found is not None
    return itertools.islice(found(spec, tokens), spec.num_prompts)


def times_s(spec: Spec) -> list[float]:
    """When each request is sent, as far as spec.num_prompts, for a data set that has times of its own."""
    times = table()[spec.dataset_name].times_s
    if times is None:
        raise SettingError("{dataset_name} {name} has no times of its own", name=spec.dataset_name)
    return times(_with_file(spec))


def _tokens(spec: Spec) -> Tokens | None:
    """The tokenizer that is asked for. Where it is the model's, an error names the model, and what else there is."""
    if not spec.tokenizer:
        return None
    from vllmperf.tokenizer.tokens import Tokens

    try:
        return Tokens(spec.tokenizer)
    except SettingError as error:
        if not spec.is_models_tokenizer:
            raise
        words = error.words.replace("{tokenizer}", "the tokenizer of {model}", 1)
        raise SettingError(
            words + "; {tokenizer} names another one, {tokenizer} none goes without", **error.values
        ) from None


def _with_file(spec: Spec) -> Spec:
    """The file that a link of the Hugging Face hub names, in the place of the link."""
    if not spec.dataset_path or "://" not in spec.dataset_path:
        return spec
    from vllmperf import hub

    return spec._replace(dataset_path=hub.local_file(spec.dataset_path))
