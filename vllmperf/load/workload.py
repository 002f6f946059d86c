"""What is asked: prompts with the length of the answer, one plain generator a data set, as endless as the run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vllmperf.errors import UsageError
from vllmperf.load import rows
from vllmperf.plan import Plan

BLOCK = 1000
"""Prompts drawn at a time when the run has no fixed number."""

SAFE_IDS = range(256, 4000)
"""Token ids that every vocabulary of today has and that are no special tokens in any that we know of."""

DEFAULT_INPUT_LEN, DEFAULT_OUTPUT_LEN = 1024, 128
SONNET_INPUT_LEN, SONNET_OUTPUT_LEN, SONNET_PREFIX_LEN = 550, 150, 200
CUSTOM_OUTPUT_LEN = 256
SHAREGPT_BYTES_PER_TOKEN = 4
"""Without a tokenizer a ShareGPT answer's length in tokens is estimated by its bytes."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt. Lengths in tokens; None where they are not known."""

    content: str | list[int]
    output_len: int | None
    input_len: int | None = None


def prompts(plan: Plan) -> Iterator[Prompt]:
    """The prompts of a plan, in order, as many as its num_prompts, or without end."""
    source = {"random": _random, "sharegpt": _sharegpt, "sonnet": _sonnet, "custom": _custom}[plan.dataset_name]
    return source(plan)


# ---- random ----


def _lengths(generator: np.random.Generator, length: int, ratio: float, least: int, n: int) -> Any:
    low, high = int(np.floor(length * (1 - ratio))), int(np.ceil(length * (1 + ratio)))
    return generator.integers(max(low, least), max(high, least) + 1, size=n)


def _random(plan: Plan) -> Iterator[Prompt]:
    """Consecutive ids from a drawn offset, in vLLM's order of draws: input lengths, output lengths, offsets."""
    generator = np.random.default_rng(plan.seed)
    tokenizer = load_tokenizer(plan.tokenizer) if plan.tokenizer else None
    n_ids = tokenizer.get_vocab_size() if tokenizer else len(SAFE_IDS)
    input_len, output_len = plan.input_len or DEFAULT_INPUT_LEN, plan.output_len or DEFAULT_OUTPUT_LEN
    prefix = generator.integers(0, n_ids, size=plan.prefix_len or 0).tolist()
    number = 0
    while plan.num_prompts is None or number < plan.num_prompts:
        n = plan.num_prompts or BLOCK
        inputs = _lengths(generator, input_len, plan.random_range_ratio, 1, n)
        outputs = _lengths(generator, output_len, plan.random_range_ratio, 1, n)
        offsets = generator.integers(0, n_ids, size=n)
        for length, answer, offset in zip(inputs.tolist(), outputs.tolist(), offsets.tolist(), strict=True):
            ids = prefix + ((offset + number + np.arange(length)) % n_ids).tolist()
            yield _random_prompt(plan, tokenizer, ids, answer)
            number += 1


def _random_prompt(plan: Plan, tokenizer: Any, ids: list[int], answer: int) -> Prompt:
    if tokenizer is not None:
        text, length = text_of_length(tokenizer, ids)
        return Prompt(text, answer, length)
    if plan.is_chat:
        return Prompt(words(ids), answer)
    first = SAFE_IDS.start
    return Prompt([first + number for number in ids], answer, len(ids))


def words(ids: list[int]) -> str:
    """One short word an id: about a token each, as near as one gets without a tokenizer."""
    return " ".join(WORDS[number % len(WORDS)] for number in ids)


def text_of_length(tokenizer: Any, ids: list[int]) -> tuple[str, int]:
    """A text that encodes to len(ids) tokens, and the length that was reached.

    Decoding ids and encoding the text again seldom gives the same ids: cut or fill up, at most ten times.
    """
    wanted, text = len(ids), ""
    for _ in range(10):
        text = tokenizer.decode(ids)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if len(ids) == wanted:
            break
        ids = ids[:wanted] if len(ids) > wanted else ids + ids[: wanted - len(ids)]
    return text, len(tokenizer.encode(text, add_special_tokens=False).ids)


def load_tokenizer(folder: str) -> Any:
    """The tokenizer of a model folder (or its tokenizer.json). Needs the extra `tokenizers`."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UsageError("--tokenizer needs the package tokenizers: pip install 'vllmperf[tokenizers]'") from None
    path = Path(folder)
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise UsageError(f"--tokenizer {folder}: cannot read {path} ({error})") from None


# ---- data sets of rows ----


def _repeated(plan: Plan, found: list[Prompt]) -> Iterator[Prompt]:
    """All prompts, then drawn again by chance until there are as many as asked."""
    if not found:
        raise UsageError(f"--dataset-path {plan.dataset_path} holds no usable row")
    yield from found[: plan.num_prompts]
    chance = random.Random(plan.seed)
    number = len(found)
    while plan.num_prompts is None or number < plan.num_prompts:
        yield chance.choice(found)
        number += 1


def _sharegpt(plan: Plan) -> Iterator[Prompt]:
    """First question and first answer of shuffled conversations, pruned as vLLM does where lengths are known."""
    tokenizer = load_tokenizer(plan.tokenizer) if plan.tokenizer else None
    pairs = list(rows.sharegpt(Path(plan.dataset_path or "")))
    random.Random(plan.seed).shuffle(pairs)
    found: list[Prompt] = []
    for question, answer in pairs:
        prompt = _sharegpt_prompt(plan, tokenizer, question, answer)
        if prompt is not None:
            found.append(prompt)
        if plan.num_prompts is not None and len(found) == plan.num_prompts:
            break
    return _repeated(plan, found)


def _sharegpt_prompt(plan: Plan, tokenizer: Any, question: str, answer: str) -> Prompt | None:
    if tokenizer is None:
        return Prompt(question, plan.output_len or max(1, len(answer.encode()) // SHAREGPT_BYTES_PER_TOKEN))
    input_len = len(tokenizer.encode(question).ids)
    output_len = plan.output_len or len(tokenizer.encode(answer, add_special_tokens=False).ids)
    too_short = input_len < 4 or (plan.output_len is None and output_len < 4)
    if too_short or input_len > 1024 or input_len + output_len > 2048:
        return None
    return Prompt(question, output_len, input_len)


def _custom(plan: Plan) -> Iterator[Prompt]:
    """The rows of a JSON lines file: prompt, and output_tokens where a row has it."""
    default = plan.output_len or CUSTOM_OUTPUT_LEN
    found = [
        Prompt(content, default if plan.output_len or length is None else length, None)
        for content, length in rows.custom(Path(plan.dataset_path or ""))
    ]
    return _repeated(plan, found)


def _sonnet(plan: Plan) -> Iterator[Prompt]:
    """Lines of a poem: the first ones as a common prefix, the rest drawn by chance, up to the asked length."""
    lines = rows.lines(Path(plan.dataset_path or ""))
    tokenizer = load_tokenizer(plan.tokenizer) if plan.tokenizer else None
    average = sum(_line_length(tokenizer, line) for line in lines) / len(lines)
    total = plan.input_len or SONNET_INPUT_LEN
    common = round(min(plan.prefix_len if plan.prefix_len is not None else SONNET_PREFIX_LEN, total) / average)
    drawn = max(1, round(total / average) - common)
    chance = random.Random(plan.seed)
    number = 0
    while plan.num_prompts is None or number < plan.num_prompts:
        text = "".join(lines[:common] + chance.choices(lines, k=drawn))
        length = len(tokenizer.encode(text).ids) if tokenizer else None
        yield Prompt("Pick as many lines as you can from these poem lines:\n" + text, _sonnet_output(plan), length)
        number += 1


def _sonnet_output(plan: Plan) -> int:
    return plan.output_len or SONNET_OUTPUT_LEN


def _line_length(tokenizer: Any, line: str) -> float:
    return len(tokenizer.encode(line, add_special_tokens=False).ids) if tokenizer else max(1.0, len(line) / 4)


# ---- bodies ----


def _messages(content: str | list[int]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def fixed_fields(plan: Plan, model: str) -> dict[str, Any]:
    """What all bodies of a run share (fields as `vllm bench serve` sends them)."""
    fields: dict[str, Any] = {"model": model}
    if plan.stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    if plan.ignore_eos:
        fields["ignore_eos"] = True
    if plan.n > 1:
        fields["n"] = plan.n
    if plan.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": plan.logprobs} if plan.is_chat else {"logprobs": plan.logprobs}
    return {**fields, **plan.sampling}


def bodies(plan: Plan, model: str) -> Iterator[bytes]:
    """The JSON body of each request. What is the same in all of them is rendered once."""
    fixed = fixed_fields(plan, model)
    limit = "max_completion_tokens" if plan.is_chat else "max_tokens"
    tail = "".join(f",{json.dumps(key)}:{json.dumps(value)}" for key, value in {**fixed, **plan.extra_body}.items())
    has_limit = limit in plan.extra_body
    for prompt in prompts(plan):
        own: dict[str, Any] = _messages(prompt.content) if plan.is_chat else {"prompt": prompt.content}
        if prompt.output_len is not None and not has_limit:
            own[limit] = prompt.output_len
        kept = {key: value for key, value in own.items() if key not in plan.extra_body}
        head = json.dumps(kept, separators=(",", ":"))[:-1]
        yield (head + (tail if kept else tail[1:]) + "}").encode()


WORDS = (
    "the of and to in is you that it he was for on are as with his they at be this have from or one had by word but "
    "not what all were we when your can said there use an each which she do how their if will up other about out many "
    "then them these so some her would make like him into time has look two more write go see number no way could "
    "people my than first water been call who oil its now find long down day did get come made may part"
).split()
