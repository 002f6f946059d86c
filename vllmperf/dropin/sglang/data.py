"""The data sets of SGLang's client, drawn as it draws them.

`sharegpt` takes first questions, `random` cuts or repeats them to lengths, `generated-shared-prefix` draws tokens.
Source: sglang/bench_serving.py of 0.4.4.post1.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence

from vllmperf import hub
from vllmperf.datasets import sharegpt
from vllmperf.datasets.chance import Chance
from vllmperf.datasets.dataset import Sample
from vllmperf.datasets.sharegpt import AT_ONCE, Pair
from vllmperf.dropin.benchmark_serving.console import say
from vllmperf.dropin.sglang import conversations, shared_prefix
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

SHAREGPT = (
    "https://huggingface.co/datasets/anon8231489123/ShareGPT_Vicuna_unfiltered/resolve/main/"
    "ShareGPT_V3_unfiltered_cleaned_split.json"
)
SHORTEST = 2
SHORTEST_FIXED = 4
ASSISTANT = "Assistant:"


def samples(args: argparse.Namespace, tokens: Tokens, chance: Chance) -> list[Sample]:
    """The samples of the asked data set, with the lines that the original prints about them. Raises UsageError."""
    if args.dataset_name == "generated-shared-prefix":
        found = shared_prefix.samples(_groups(args), tokens, chance.python)
    elif args.dataset_name == "random":
        found = _random(args, tokens, chance)
    elif conversations.is_asked(args):
        found = conversations.samples(args, tokens, chance.python)
    else:
        found = _sharegpt(args, tokens, chance)
    if not found:
        raise UsageError("the data set gives no request: check --num-prompts, --dataset-path and the lengths")
    return found


def _groups(args: argparse.Namespace) -> shared_prefix.Groups:
    return shared_prefix.Groups(
        args.gsp_num_groups,
        args.gsp_prompts_per_group,
        args.gsp_system_prompt_len,
        args.gsp_question_len,
        args.gsp_output_len if args.max_output_len is None else args.max_output_len,
    )


def _pairs(args: argparse.Namespace, chance: Chance) -> list[Pair]:
    """The first two turns of all conversations, shuffled."""
    found = sharegpt.pairs(hub.local_file(args.dataset_path or args.dataset_link or SHAREGPT))
    chance.python.shuffle(found)
    return found


def _say_totals(input_tokens: int, output_tokens: int) -> None:
    say(f"#Input tokens: {input_tokens}")
    say(f"#Output tokens: {output_tokens}")


# ---- sharegpt ----


def _sharegpt(args: argparse.Namespace, tokens: Tokens, chance: Chance) -> list[Sample]:
    fixed = args.sharegpt_output_len
    if fixed is not None and fixed < SHORTEST_FIXED:
        raise UsageError(f"--sharegpt-output-len must be at least {SHORTEST_FIXED} (got {fixed})")
    usable = _usable(args, tokens, _pairs(args, chance))
    found = list(itertools.islice(usable, max(0, args.num_prompts)))
    _say_totals(sum(sample.prompt_len for sample in found), sum(sample.output_len for sample in found))
    return found


def _usable(args: argparse.Namespace, tokens: Tokens, pairs: Sequence[Pair]) -> Iterator[Sample]:
    """Those that are neither too short nor longer than the context."""
    fixed, most = args.sharegpt_output_len, args.sharegpt_context_len
    for first in range(0, len(pairs), AT_ONCE):
        block = pairs[first : first + AT_ONCE]
        prompts = [_prompt(args, tokens, pair.question or "") for pair in block]
        lengths = tokens.counts(prompts)
        answers = [fixed] * len(block) if fixed is not None else _answer_lengths(tokens, block)
        for pair, prompt, prompt_len, output_len in zip(block, prompts, lengths, answers, strict=True):
            pair.check()
            is_short = prompt_len < SHORTEST or output_len < SHORTEST
            if not is_short and not (most and prompt_len + output_len > most):
                yield Sample(prompt, prompt_len, output_len)


def _answer_lengths(tokens: Tokens, block: Sequence[Pair]) -> list[int]:
    return tokens.counts([pair.answer or "" for pair in block])


def _prompt(args: argparse.Namespace, tokens: Tokens, question: str) -> str:
    """With --prompt-suffix, and in the model's chat template where it is asked for."""
    if args.prompt_suffix:
        question = question.removesuffix(ASSISTANT) + args.prompt_suffix + ASSISTANT
    if not args.apply_chat_template:
        return question
    text = tokens.chat([{"role": "user", "content": question}])
    begin = tokens.special_tokens.get("bos_token")
    return text.replace(begin, "") if begin else text


# ---- random ----


def _random(args: argparse.Namespace, tokens: Tokens, chance: Chance) -> list[Sample]:
    """Questions cut, or repeated and cut, to drawn lengths. Fewer than asked for if the file has fewer."""
    n, ratio = args.num_prompts, args.random_range_ratio
    if n < 1 or args.random_input_len < 1 or args.random_output_len < 0 or not 0 <= ratio <= 1:
        raise UsageError(
            "--num-prompts and --random-input-len must be at least 1, --random-range-ratio from 0 to 1"
        )
    low = max(int(args.random_input_len * ratio), 1)
    inputs = chance.numpy.randint(low, args.random_input_len + 1, size=n).tolist()
    outputs = chance.numpy.randint(
        int(args.random_output_len * ratio), args.random_output_len + 1, size=n
    ).tolist()
    questions = _filled(tokens, _pairs(args, chance))
    ids = [(own * -(-length // len(own)))[:length] for own, length in zip(questions, inputs, strict=False)]
    texts = tokens.decode(ids) if ids else []
    _say_totals(sum(inputs), sum(outputs))
    return [Sample(*each) for each in zip(texts, inputs, outputs, strict=False)]


def _filled(tokens: Tokens, pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """The ids of each question, with those that the model puts around it; without questions that have none."""
    for first in range(0, len(pairs), AT_ONCE):
        block = pairs[first : first + AT_ONCE]
        for pair, ids in zip(
            block, tokens.encode([pair.question or "" for pair in block], special=True), strict=True
        ):
            pair.check()
            if ids:
                yield ids
