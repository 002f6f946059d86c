"""Long conversations cut into prefixes, as the prefix-aware guide's benchmark.py makes its prompts.

Each conversation of five messages or more gives a prompt for every number of its first messages, as text with User: and
Assistant: before them. --max-conversations limits these prompts, not the conversations, before they are shuffled; an
output length is drawn for each that is looked at. The bounds of a prompt are in the source of that script, not in the
guide.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vllmperf import hub
from vllmperf.datasets.dataset import Sample
from vllmperf.datasets.rows import Row, rows
from vllmperf.dropin.benchmark_serving.console import say
from vllmperf.dropin.benchmark_serving.data import note
from vllmperf.errors import UsageError
from vllmperf.run import Folder
from vllmperf.target import AnswerError, Client
from vllmperf.tokenizer.tokens import Tokens

FEWEST_MESSAGES = 5
SHORTEST_PROMPT, LONGEST_PROMPT = 1500, 8192
MOST, OUTPUT_LEN, GROUP_CHARS = 1000, 256, 100
"""Usual --max-conversations, lengths of answers, --prefix-length."""
LINK = "https://huggingface.co/datasets/samos123/share-gpt-long-convos/resolve/main/sharegpt_16_messages_or_more.json"
AT_ONCE = 64
DOWNLOAD_S = 600.0


def is_asked(args: argparse.Namespace) -> bool:
    """Whether the guide's flags ask for these prompts."""
    flags = (args.dataset_link, args.max_conversations, args.min_output_len, args.max_output_len)
    return any(value is not None for value in flags)


def samples(args: argparse.Namespace, tokens: Tokens, chance: random.Random) -> list[Sample]:
    """As many samples as are asked for: the same prompts again where there are fewer. Raises UsageError."""
    low, high = _output_lengths(args)
    texts = _texts(args, MOST if args.max_conversations is None else args.max_conversations)
    if not texts:
        raise UsageError(f"no conversation of {FEWEST_MESSAGES} messages or more: check --dataset-link")
    chance.shuffle(texts)
    lengths, bounds = _Lengths(texts, tokens), _bounds(args)
    found: list[Sample] = []
    while len(found) < args.num_prompts:
        for number, text in enumerate(texts):
            if len(found) >= args.num_prompts:
                break
            output_len = chance.randint(low, high)
            if lengths[number] in bounds:
                found.append(Sample(text, lengths[number], output_len))
        if not found:
            bounds = _wider(args, bounds, lengths)
    _say(found, GROUP_CHARS if args.prefix_length is None else args.prefix_length)
    return found


class _Lengths:
    """The tokens of texts, counted in blocks when they are asked for, which is in order."""

    def __init__(self, texts: Sequence[str], tokens: Tokens) -> None:
        self._texts, self._tokens = texts, tokens
        self.known: list[int] = []

    def __getitem__(self, number: int) -> int:
        while number >= len(self.known):
            first = len(self.known)
            self.known += self._tokens.counts(self._texts[first : first + AT_ONCE])
        return self.known[number]


def _output_lengths(args: argparse.Namespace) -> tuple[int, int]:
    low = OUTPUT_LEN if args.min_output_len is None else args.min_output_len
    high = max(OUTPUT_LEN, low) if args.max_output_len is None else args.max_output_len
    low = min(low, high) if args.min_output_len is None else low
    if not 1 <= low <= high:
        raise UsageError(f"--min-output-len {low} must be at least 1 and not above --max-output-len {high}")
    return low, high


def _bounds(args: argparse.Namespace) -> range:
    """The lengths of prompts that are taken."""
    low = SHORTEST_PROMPT if args.min_prompt_len is None else args.min_prompt_len
    high = LONGEST_PROMPT if args.max_prompt_len is None else args.max_prompt_len
    return range(low, high + 1)


def _wider(args: argparse.Namespace, bounds: range, lengths: _Lengths) -> range:
    """Without the usual lower bound, as no prompt is within the bounds. UsageError when there is none so either."""
    low, high = bounds.start, bounds.stop - 1
    if args.min_prompt_len is not None or low == 0 or min(lengths.known) > high:
        raise UsageError(f"no prompt has {low} to {high} tokens: set --min-prompt-len and --max-prompt-len")
    note(
        f"vllmperf: no prompt has {low} to {high} tokens, shorter ones are taken (--min-prompt-len sets a bound)"
    )
    return range(bounds.stop)


def _messages(row: Row) -> list[Any]:
    """Those of a long conversation, else none."""
    fields: Any = row.value if isinstance(row.value, dict) else {}
    found = fields.get("conversations", fields.get("conversation"))
    return found if isinstance(found, list) and len(found) >= FEWEST_MESSAGES else []


def _pieces(row: Row) -> Iterator[str]:
    """One prompt for each number of first messages."""
    text = ""
    for number, message in enumerate(_messages(row)):
        value = message.get("value") if isinstance(message, dict) else None
        if not isinstance(value, str):
            raise row.bad('a message has no text "value"')
        text += f"{'Assistant' if number % 2 else 'User'}: {value}\n"
        yield text


def _say(found: Sequence[Sample], group_chars: int) -> None:
    groups = len({str(sample.prompt)[:group_chars] for sample in found})
    inputs = sum(sample.prompt_len for sample in found)
    outputs = sum(sample.output_len for sample in found)
    say("\nGenerated ShareGPT dataset statistics:")
    say(f"Total prompts: {len(found)}")
    say(f"Total input tokens: {inputs}")
    say(f"Total output tokens: {outputs}")
    say(f"Average input length: {inputs / max(1, len(found)):.1f} tokens")
    say(f"Average output length: {outputs / max(1, len(found)):.1f} tokens")
    say(f"Number of unique prefixes: {groups}")
    say(f"Average prompts per prefix: {len(found) / max(1, groups):.1f}\n")


# ---- the file ----


def _texts(args: argparse.Namespace, most: int) -> list[str]:
    """The first prompts of a local file: the one that is named, or what a link gives. The guide's own command has a comma
    behind its link."""
    name = (args.dataset_link or args.dataset_path or LINK).rstrip(",")
    local = name if Path(name).exists() else hub.local_file(name, "--dataset-link")
    folder = Folder()
    if local.startswith(("http://", "https://")):
        local = _downloaded(local, Path(str(folder)) / "dataset.json")
    found: list[str] = []
    n = 0
    for row in rows(local, "--dataset-link"):
        n += len(_messages(row))
        found += itertools.islice(_pieces(row), max(0, most - len(found)))
    say(f"num_conversations: {n}")
    return found


def _downloaded(link: str, path: Path) -> str:
    say(f"Downloading dataset from {link}")
    try:
        path.write_bytes(Client(link, follow=True).get("", timeout_s=DOWNLOAD_S))
    except AnswerError as error:
        raise UsageError(
            f"--dataset-link {link} cannot be fetched ({error.why or error}): give a file of yours"
        ) from None
    return str(path)
