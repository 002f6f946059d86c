"""From --data and --processor to prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vllmperf.compat.guidellm import files, synthetic
from vllmperf.compat.guidellm.options import Options
from vllmperf.compat.guidellm.source import Items, Source
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


def tokenizer(processor: str | None, environment: Mapping[str, str]) -> Tokens | None:
    """The tokenizer of --processor: a folder, or what the hub's cache has of a model. None when it has nothing.

    Nothing is fetched: prompts are token ids then. UsageError for a path that does not exist.
    """
    if processor is None:
        return None
    folder = Path(processor)
    if not folder.exists():
        cached = cached_folder(processor, environment)
        if cached is None and processor.startswith((".", "/", "~")):
            raise UsageError(f"--processor {processor}: there is no such folder")
        if cached is None:
            return None
        folder = cached
    return Tokens(str(folder))


def cached_folder(name: str, environment: Mapping[str, str]) -> Path | None:
    """Where the Hugging Face cache holds the tokenizer.json of a model."""
    home = Path(environment.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(environment.get("HF_HUB_CACHE") or home / "hub")
    found = sorted(hub.glob(f"models--{name.replace('/', '--')}/snapshots/*/tokenizer.json"), key=_age)
    return found[-1].parent if found else None


def _age(path: Path) -> float:
    return path.stat().st_mtime
