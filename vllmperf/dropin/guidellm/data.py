"""From --data and --processor to prompts."""

from __future__ import annotations

from dataclasses import replace

from vllmperf import hub
from vllmperf.dropin.guidellm import files, synthetic
from vllmperf.dropin.guidellm.options import Options
from vllmperf.dropin.guidellm.source import Items, Source
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens


def source(options: Options, tokenizer: Tokens | None) -> Source:
    """The prompts that the command asks for. Raises UsageError by name."""
    if not synthetic.is_synthetic(options.data):
        seed = options.random_seed if options.data_sampler else None
        found = files.source(options.data, options.data_args, seed)
        return Items(found.items[: options.data_samples])
    if options.data_args:
        name = next(iter(options.data_args))
        raise UsageError(f"--data-args: {name} does not go with synthetic data, only with files")
    shape = synthetic.shape(options.data)
    shape = replace(shape, samples=options.data_samples or shape.samples)
    return synthetic.source(shape, options.random_seed, tokenizer, options.is_chat)


def tokenizer(processor: str | None) -> Tokens | None:
    """The tokenizer of --processor: a folder, or a model of the Hugging Face hub. UsageError where there is none."""
    return None if processor is None else Tokens(str(hub.model_folder(processor, "--processor")))
