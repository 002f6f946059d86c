"""Where the prompts come from: padding or a file (2024-10), a data set (2026-06)."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from typing import Any

from vllmperf import hub, text_file
from vllmperf.datasets.rows import LINES, Row, rows
from vllmperf.dropin.llm_bench.counting import token_count
from vllmperf.dropin.llm_bench.options import Options
from vllmperf.dropin.llm_bench.texts import code, limericks
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

Prompt = str | dict[str, Any]

PAD = "Pad "
TASK = (
    "Generate a Django application with Authentication, JWT, Tests, DB support. "
    "Show docker-compose for python and postgres. Show the complete code for every file!"
)
"""What 2024-10 asks for; every prompt of it ends so."""
TASK_TOKENS = 35
"""As Llama's tokenizer counts them, whatever the model."""
QUESTIONS = {
    "limericks": "Translate the limericks above to Spanish.",
    "code": "Translate the code above to C++.",
}


def prompts(options: Options, generator: random.Random) -> Iterator[tuple[Prompt, int | None]]:
    """Endless (prompt, its tokens or None). Raises UsageError at once for files that cannot be read."""
    if options.is_old:
        return _padded(options, generator)
    if options.dataset.startswith("@"):
        return _rows(options)
    return _texts(options, generator)


def _read(name: str) -> str:
    try:
        return text_file.read(name)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}") from None
    except text_file.NoTextError as error:
        raise UsageError(f"{name} {error}") from None


def _json_lines(name: str) -> list[Row]:
    found = list(rows(hub.local_file(name, ""), "", form=LINES[0]))
    if not found:
        raise UsageError(f"{name} is empty")
    return found


# ---- 2024-10 ----


def _padded(options: Options, generator: random.Random) -> Iterator[tuple[Prompt, int | None]]:
    source = _source(options)
    count = token_count(options)
    if isinstance(source, str):
        sample = letters(source, generator) if options.prompt_randomize else source
        return _repeated(options, source, count(sample) if count else None, generator)
    counts = [count(row["prompt"]) if count else None for row in source]
    return _drawn(options, source, counts, generator)


def _source(options: Options) -> str | list[dict[str, Any]]:
    if options.prompt_file is not None:
        return _file(options.prompt_file)
    if options.prompt_text:
        is_file = options.prompt_text.startswith("@")
        return _file(options.prompt_text[1:]) if is_file else options.prompt_text
    if options.prompt_chars:
        return (PAD * (options.prompt_chars // len(PAD) + 1) + TASK)[: options.prompt_chars]
    if options.prompt_tokens < TASK_TOKENS:
        raise UsageError(f"-p is {options.prompt_tokens}: the shortest prompt has {TASK_TOKENS} tokens")
    return PAD * (options.prompt_tokens - TASK_TOKENS) + TASK


def _file(name: str) -> str | list[dict[str, Any]]:
    if not name.endswith(".jsonl"):
        return _read(name)
    found = _json_lines(name)
    for row in found:
        row.text("prompt")
    return [row.fields for row in found]


def _repeated(
    options: Options, text: str, tokens: int | None, generator: random.Random
) -> Iterator[tuple[Prompt, int | None]]:
    while True:
        yield (letters(text, generator) if options.prompt_randomize else text), tokens


def _drawn(
    options: Options, rows: list[dict[str, Any]], counts: list[int | None], generator: random.Random
) -> Iterator[tuple[Prompt, int | None]]:
    while True:
        i = generator.randrange(len(rows))
        text = letters(rows[i]["prompt"], generator) if options.prompt_randomize else rows[i]["prompt"]
        yield {"prompt": text, "images": rows[i].get("images")}, counts[i]


def letters(text: str, generator: random.Random) -> str:
    """The prompt with drawn letters in place of its padding: a letter is a token, as "Pad " is one."""
    n = (len(text) - len(TASK)) // len(PAD)
    drawn = " ".join(chr(ord("a") + generator.randint(0, 25)) for _ in range(n))
    return f"{drawn} {text[-len(TASK) :]}"


# ---- 2026-06 ----


def _rows(options: Options) -> Iterator[tuple[Prompt, int | None]]:
    found = [row.fields for row in _json_lines(options.dataset[1:])]
    if options.dataset_shuffle_seed is not None:
        random.Random(options.dataset_shuffle_seed).shuffle(found)
    return _cycle(found[: options.dataset_limit])


def _cycle(rows: list[dict[str, Any]]) -> Iterator[tuple[Prompt, int | None]]:
    while True:
        for row in rows:
            yield row, None


def _texts(options: Options, generator: random.Random) -> Iterator[tuple[Prompt, int | None]]:
    if options.dataset not in QUESTIONS:
        raise UsageError(f"--dataset is {options.dataset!r}: give limericks, code, or @FILE.jsonl")
    if not options.tokenizer:
        raise UsageError(f"--dataset {options.dataset} needs --tokenizer FOLDER to know lengths")
    tokenizer = Tokens(options.tokenizer)
    texts = limericks() if options.dataset == "limericks" else code()
    counted = [(text, tokenizer.count(text, special=False)) for text in texts]
    question = "\n\n" + (options.prompt or QUESTIONS[options.dataset])
    fixed = tokenizer.count(question, special=False)
    prefix, fixed = _common(counted, fixed, options.prompt_cache_max_len)
    if options.chat:
        fixed += _template_tokens(options, tokenizer)
    return _composed(counted, prefix, question, fixed, options.prompt_tokens, generator)


def _common(counted: list[tuple[str, int]], tokens: int, wanted: int) -> tuple[str, int]:
    """The beginning that all prompts share, so that a cache of prefixes finds `wanted` tokens."""
    prefix = ""
    for i in range(wanted):
        if tokens >= wanted:
            break
        text, more = counted[i % len(counted)]
        prefix += text + "\n\n"
        tokens += more
    return prefix, tokens


def _composed(
    counted: list[tuple[str, int]],
    prefix: str,
    question: str,
    fixed: int,
    wanted: int,
    generator: random.Random,
) -> Iterator[tuple[Prompt, int | None]]:
    while True:
        parts, tokens = [prefix], fixed
        while tokens < wanted:
            text, more = counted[generator.randrange(len(counted))]
            parts.append(text + "\n\n")
            tokens += more
        yield "".join(parts) + question, tokens


def _template_tokens(options: Options, tokenizer: Tokens) -> int:
    """Tokens that the chat template puts around a message; 0 when there is no way to know, which is said."""
    folder = hub.model_folder(options.tokenizer or "")
    try:
        from jinja2 import Environment

        config = json.loads(text_file.read(folder / "tokenizer_config.json"))
        template = Environment().from_string(config["chat_template"])
        names = {name: config.get(name) or "" for name in ("bos_token", "eos_token")}
        messages = [{"role": "user", "content": ""}]
        return tokenizer.count(
            template.render(messages=messages, add_generation_prompt=True, **names), special=False
        )
    except Exception as error:  # a template may raise anything
        print(f"llm_bench: prompts leave out the chat template's tokens: {error}", file=sys.stderr)
        return 0
