"""The flags of SGLang's client with their defaults, in the order of its Namespace, and those that the guide's copy adds."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from vllmperf.dropin.benchmark_serving.flags import BOOLEAN, SWITCH, Flag, add, named_profile
from vllmperf.dropin.sglang.backends import BACKENDS
from vllmperf.dropin.sglang.profile import SGLANG
from vllmperf.errors import UsageError
from vllmperf.parser import Parser

DATA = ("sharegpt", "random", "generated-shared-prefix")

FLAGS = (
    Flag("backend", "sglang", choices=(*BACKENDS, "gserver")),
    Flag("base-url"),
    Flag("host", "0.0.0.0"),
    Flag("port", None, int),
    Flag("dataset-name", "sharegpt", choices=DATA),
    Flag("dataset-path", ""),
    Flag("model"),
    Flag("tokenizer"),
    Flag("num-prompts", 1000, int),
    Flag("sharegpt-output-len", None, int),
    Flag("sharegpt-context-len", None, int),
    Flag("random-input-len", 1024, int),
    Flag("random-output-len", 1024, int),
    Flag("random-range-ratio", 0.0, float),
    Flag("request-rate", math.inf, float),
    Flag("max-concurrency", None, int),
    Flag("output-file"),
    Flag("disable-tqdm", False, SWITCH),
    Flag("disable-stream", False, BOOLEAN),
    Flag("return-logprob", False, SWITCH),
    Flag("seed", 1, int),
    Flag("disable-ignore-eos", False, BOOLEAN),
    Flag("extra-request-body"),
    Flag("apply-chat-template", False, SWITCH),
    Flag("profile", False, SWITCH),
    Flag("lora-name"),
    Flag("prompt-suffix", ""),
    Flag("pd-seperated", False, SWITCH),
    Flag("gsp-num-groups", 64, int, others=("gen-num-groups", "gen-num-prefixes")),
    Flag("gsp-prompts-per-group", 16, int, others=("gen-prompts-per-group", "gen-suffixes-per-prefix")),
    Flag("gsp-system-prompt-len", 2048, int, others=("gen-system-prompt-len", "gen-prefix-len")),
    Flag("gsp-question-len", 128, int, others=("gen-question-len", "gen-suffix-len")),
    Flag("gsp-output-len", 256, int),
)

GUIDE = (
    Flag("dataset-link"),
    Flag("max-conversations", None, int),
    Flag("min-output-len", None, int),
    Flag("max-output-len", None, int),
    Flag("prefix-length", None, int),
    Flag("with-warmup", None, BOOLEAN),
    Flag("multi", False, SWITCH),
    Flag("request-rate-range", None, str),
)
"""What the prefix-aware guide's copy of the client adds. Said back where they are given."""

OURS = (Flag("min-prompt-len", None, int), Flag("max-prompt-len", None, int))
"""Bounds of a piece of a conversation, which the guide's copy has in its source."""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The values of all flags. Raises UsageError."""
    named, rest = named_profile(words)
    if named not in (None, SGLANG.name):
        raise UsageError(f"--profile {named!r}: this is {SGLANG.name}; vLLM's are in benchmark_serving.py")
    args, unknown = _parser().parse_known_args([_whole(word) for word in rest])
    if unknown:
        raise UsageError(f"{unknown[0]} is no flag of {SGLANG.program} of {SGLANG.release}: leave it out")
    return args


def said_back(args: argparse.Namespace) -> str:
    """All values of the client, and those of the guide's flags that were given."""
    given = [flag for flag in GUIDE if getattr(args, flag.key) not in (None, False)]
    return f"Namespace({', '.join(f'{flag.key}={getattr(args, flag.key)!r}' for flag in (*FLAGS, *given))})"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        allow_abbrev=True,
        prog="benchmark.py",
        description=f"{SGLANG.program} of {SGLANG.release}: its requests, output and files, our engine; with the "
        "flags of the prefix-aware guide's benchmark.py. What differs is in docs/sglang.md.",
    )
    add(parser, (*FLAGS, *GUIDE, *OURS))
    return parser


def _whole(word: str) -> str:
    """A flag of the client that is cut short, as a whole: with more flags it may no longer be the only one."""
    name, equals, value = word.partition("=")
    every = [flag.name for flag in (*FLAGS, *GUIDE, *OURS)]
    meant = [flag.name for flag in FLAGS if f"--{flag.name}".startswith(name)]
    if not name.startswith("--") or name[2:] in every or len(meant) != 1:
        return word
    return f"--{meant[0]}{equals}{value}"
