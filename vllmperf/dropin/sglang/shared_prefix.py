"""generated-shared-prefix: groups of prompts that begin with the same drawn tokens.

The original keeps what it drew in ~/.cache and takes it from there, whatever the seed and the model; so does this. It
draws from the vocabulary in an order that changes with every process; here the ids rise.
"""

from __future__ import annotations

import io
import pickle
import random
from pathlib import Path
from typing import Any, NamedTuple

from vllmperf.datasets.dataset import Sample
from vllmperf.dropin.benchmark_serving.console import say
from vllmperf.dropin.benchmark_serving.data import note
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens


class Groups(NamedTuple):
    """How many, and lengths in tokens."""

    groups: int
    prompts: int
    system_len: int
    question_len: int
    output_len: int


def samples(asked: Groups, tokens: Tokens, chance: random.Random) -> list[Sample]:
    """All prompts, shuffled. Raises UsageError."""
    if min(asked.groups, asked.prompts) < 1 or min(asked[2:]) < 0:
        raise UsageError(
            "--gsp-num-groups and --gsp-prompts-per-group must be at least 1, lengths not negative"
        )
    path = _cache(asked, tokens)
    if path.exists():
        say(f"\nLoading cached generated input data from {path}")
        return _kept(path)
    say("\nGenerating new input data...")
    begins = [_drawn(tokens, chance, asked.system_len) for _ in range(asked.groups)]
    questions = [_drawn(tokens, chance, asked.question_len) for _ in range(asked.groups * asked.prompts)]
    prompts = [f"{begins[i // asked.prompts]}\n\n{question}" for i, question in enumerate(questions)]
    found = [
        Sample(prompt, n, asked.output_len) for prompt, n in zip(prompts, tokens.counts(prompts), strict=True)
    ]
    chance.shuffle(found)
    _say(asked, found, tokens.counts(begins), tokens.counts(questions))
    _keep(path, found)
    return found


def _drawn(tokens: Tokens, chance: random.Random, length: int) -> str:
    return tokens.decode_one(chance.choices(tokens.every_id, k=length))


def _say(asked: Groups, found: list[Sample], begins: list[int], questions: list[int]) -> None:
    say("\nGenerated shared prefix dataset statistics:")
    say(f"Number of groups: {asked.groups}")
    say(f"Prompts per group: {asked.prompts}")
    say(f"Total prompts: {len(found)}")
    say(f"Total input tokens: {sum(sample.prompt_len for sample in found)}")
    say(f"Total output tokens: {sum(sample.output_len for sample in found)}")
    say(f"Average system prompt length: {sum(begins) / len(begins):.1f} tokens")
    say(f"Average question length: {sum(questions) / len(questions):.1f} tokens\n")


# ---- the cache ----


def _cache(asked: Groups, tokens: Tokens) -> Path:
    lengths = "_".join(map(str, asked))
    return Path.home() / ".cache/sglang/benchmark" / f"gen_shared_prefix_{lengths}_{tokens.class_name}.pkl"


class _Plain(pickle.Unpickler):
    """Reads lists, tuples, texts and numbers; a pickle that wants to import something is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}")


def _kept(path: Path) -> list[Sample]:
    try:
        found = _Plain(io.BytesIO(path.read_bytes())).load()
        return [Sample(str(prompt), int(n), int(output_len)) for prompt, n, output_len in found]
    except Exception as error:  # a pickle may hold anything
        raise UsageError(f"{path} is no such cache ({error}): remove it") from None


def _keep(path: Path, found: list[Sample]) -> None:
    say(f"Caching generated input data to {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps([(each.prompt, each.prompt_len, each.output_len) for each in found]))
    except OSError as error:
        note(f"vllmperf: {path} was not kept: {error.strerror or error}")
