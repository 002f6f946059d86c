"""What is asked: prompts with the lengths of their answers, one plain generator a data set."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vllmperf.datasets.sample import spread
from vllmperf.errors import UsageError
from vllmperf.load import rows
from vllmperf.load.draws import Draws, Integers
from vllmperf.plan import Plan

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

SAFE_IDS = range(256, 4000)
"""Token ids that every vocabulary of today has and that are no special tokens in any that we know of."""

DRAWN_AT_ONCE = 1_000_000
"""Lengths are drawn for all prompts at once, as vLLM does, up to this many: then in pieces."""
DRAWN_WITHOUT_END = 1000
TEXTS_AT_ONCE = 64
"""Encoded together; fewer would cost more, more would keep a run waiting for its first request."""

CUSTOM_OUTPUT_LEN = 256
BYTES_PER_TOKEN = 4
"""Without a tokenizer ShareGPT's answers get a limit, and too long prompts are left out, by this estimate."""
LONGEST_PROMPT, LONGEST_TOTAL, SHORTEST = 1024, 2048, 4
"""vLLM's bounds for ShareGPT, in tokens."""
SONNET_BEGIN = "Pick as many lines as you can from these poem lines:\n"
SONNET_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt as JSON (a text, or a list of token ids). Lengths in tokens; input_len is an estimate of texts without a
    tokenizer: a token a word of random, one for 4 bytes of other text."""

    json: str
    output_len: int | None
    input_len: int | None = None


def prompts(plan: Plan) -> Iterator[Prompt]:
    """The prompts of a plan, in order, as many as its num_prompts, or without end.

    Raises UsageError for a bad row, before the first prompt wherever that is possible.
    """
    sources: dict[str, Callable[[Plan], Iterator[Prompt]]] = {
        "random": _random,
        "sharegpt": _sharegpt,
        "sonnet": _sonnet,
        "custom": _custom,
    }
    return itertools.islice(sources[plan.dataset_name](plan), plan.num_prompts)


def _tokens(plan: Plan) -> Tokens | None:
    if not plan.tokenizer:
        return None
    from vllmperf.tokenizer.tokens import Tokens

    return Tokens(plan.tokenizer)


def _text(text: str, output_len: int | None, input_len: int | None = None) -> Prompt:
    return Prompt(json.dumps(text), output_len, input_len)


# ---- random ----


def _random(plan: Plan) -> Iterator[Prompt]:
    """Neighbouring ids from a drawn place on."""
    if plan.tokenizer:
        return _random_texts(plan, np.random.default_rng(plan.seed))
    # vLLM draws no ids without a tokenizer, so only lengths can be those that it draws
    return _random_ids(
        plan, np.random.default_rng(plan.seed) if plan.random_range_ratio else Draws(plan.seed)
    )


def _draws(plan: Plan, generator: Integers, around: int, n_ids: int) -> Iterator[tuple[int, int, int]]:
    """(input length, output length, offset) of each prompt, in vLLM's order of draws. around: tokens around a prompt."""
    lengths = plan.lengths
    n = min(plan.num_prompts or DRAWN_WITHOUT_END, DRAWN_AT_ONCE)
    while True:
        inputs = spread(generator, max(1, (lengths.input or 0) - around), plan.random_range_ratio, n, least=1)
        outputs = spread(generator, lengths.output or 1, plan.random_range_ratio, n, least=1)
        offsets = generator.integers(0, n_ids, size=n)
        yield from zip(inputs, outputs, offsets.tolist(), strict=True)


def _random_ids(plan: Plan, generator: Integers) -> Iterator[Prompt]:
    """Without a tokenizer: ids as they are, or where no ids are taken common words, about a token each."""
    ids, words = np.asarray(SAFE_IDS), plan.sends_words
    draws = _draws(plan, generator, 0, len(ids))
    first = next(draws)
    prefix = ids[generator.integers(0, len(ids), size=plan.lengths.prefix)].tolist()
    common = [WORDS[number % len(WORDS)] for number in prefix] if words else list(map(str, prefix))
    circle = WordCircle(WORDS, " ") if words else WordCircle([str(number) for number in SAFE_IDS], ",")
    head = "".join(word + circle.joint for word in common)
    before, after = ('"', '"') if words else ("[", "]")
    for number, (length, answer, offset) in enumerate(itertools.chain([first], draws)):
        text = head + circle.distinct(number, offset, length)
        yield Prompt(before + text + after, answer, len(common) + length)


def _random_texts(plan: Plan, generator: np.random.Generator) -> Iterator[Prompt]:
    """vLLM's rule to the letter: ids[(offset + number + k) mod n] behind the prefix, as a text of so many tokens."""
    from vllmperf.datasets import random_text
    from vllmperf.tokenizer import fitted
    from vllmperf.tokenizer.circle import Circle, Run
    from vllmperf.tokenizer.tokens import Tokens

    tokens = Tokens(plan.tokenizer or "")
    ring = tokens.plain_ids.tolist()
    more = random_text.filler(generator, tokens)
    draws = _draws(plan, generator, tokens.special_count, tokens.vocab_size)
    first = next(draws)
    prefix = [ring[place] for place in generator.integers(0, len(ring), size=plan.lengths.prefix)]
    total = (plan.num_prompts or DRAWN_WITHOUT_END) * (plan.lengths.input or 0)
    circle = Circle.of(tokens, ring) if total >= random_text.WORTH_A_CIRCLE * len(ring) else None
    # no more draws than are needed: those that fill a text up come from the same generator
    numbered = itertools.islice(enumerate(itertools.chain([first], draws)), plan.num_prompts)
    while block := list(itertools.islice(numbered, TEXTS_AT_ONCE)):
        runs = [Run(prefix, offset + number, length) for number, (length, _, offset) in block]
        wanted = [len(prefix) + run.length for run in runs]
        fits = fitted.fit_runs(tokens, circle, runs, ring, wanted, more)
        for fit, length, (_, (_, answer, _)) in zip(fits, wanted, block, strict=True):
            exact = fitted.filled(tokens, fit, length)
            yield _text(exact.text, answer, len(exact.ids) + tokens.special_count)


class WordCircle:
    """Words in a circle, joined once: any run of neighbours is one slice, prompts cost next to nothing."""

    def __init__(self, words: Sequence[str], joint: str) -> None:
        self._words, self.joint = words, joint
        self._text = "".join(word + joint for word in words) * 2
        sizes = [len(word) + len(joint) for word in words] * 2
        self._at = [0, *itertools.accumulate(sizes)]

    def distinct(self, number: int, offset: int, length: int) -> str:
        """`length` words that begin unlike those of every other number.

        Were they neighbours from the first on, prompts that begin at the same place would be the same, and a
        server's prefix cache would answer them: of 1,000 prompts from 3,744 ids every eighth.
        """
        n = len(self._words)
        digits = (number, number // n, number // n**2, offset, offset // n)
        first = [self._words[digit % n] for digit in digits[:length]]
        rest = length - len(first)
        return self.joint.join([*first, self.run(offset + number, rest)] if rest else first)

    def run(self, start: int, length: int) -> str:
        """`length` neighbours from `start` on."""
        n = len(self._words)
        start %= n
        rounds, rest = divmod(length, n)
        whole = self._text[self._at[start] : self._at[start + n]] * rounds
        return (whole + self._text[self._at[start] : self._at[start + rest]])[: -len(self.joint)]


# ---- data sets of rows ----


def _repeated(plan: Plan, source: Iterable[Prompt]) -> Iterator[Prompt]:
    """All prompts, then drawn again by chance, without end."""
    found = []
    for prompt in source:
        yield prompt
        found.append(prompt)
    if not found:
        raise UsageError(f"--dataset-path {plan.dataset_path} holds no usable row")
    chance = random.Random(plan.seed)
    while True:
        yield chance.choice(found)


def _custom(plan: Plan) -> Iterator[Prompt]:
    """The rows of a JSON lines file: prompt, and output_tokens where no length is asked for."""
    # all that are needed at once: a bad row must not end a run that has begun
    needed = itertools.islice(
        rows.custom(Path(plan.dataset_path or ""), ids=not plan.is_chat), plan.num_prompts
    )
    asked = plan.output_len
    found = [
        Prompt(
            json.dumps(content, separators=(",", ":")), asked or length or CUSTOM_OUTPUT_LEN, _count(content)
        )
        for content, length in needed
    ]
    return _repeated(plan, found)


def _count(content: str | list[int]) -> int:
    return _estimate(content) if isinstance(content, str) else len(content)


def _sharegpt(plan: Plan) -> Iterator[Prompt]:
    """First question and first answer of shuffled conversations, pruned as vLLM does."""
    tokenizer = _tokens(plan)
    pairs = list(rows.sharegpt(Path(plan.dataset_path or "")))
    random.Random(plan.seed).shuffle(pairs)
    found = (_sharegpt_prompt(plan, tokenizer, question, answer) for question, answer in pairs)
    return _repeated(plan, (prompt for prompt in found if prompt is not None))


def _sharegpt_prompt(plan: Plan, tokenizer: Tokens | None, question: str, answer: str) -> Prompt | None:
    input_len = tokenizer.count(question) if tokenizer else _estimate(question)
    output_len = plan.output_len or (
        tokenizer.count(answer, special=False) if tokenizer else _estimate(answer)
    )
    is_short = input_len < SHORTEST or (plan.output_len is None and output_len < SHORTEST)
    if is_short or input_len > LONGEST_PROMPT or input_len + output_len > LONGEST_TOTAL:
        return None
    return _text(question, output_len, input_len)


def _estimate(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


# ---- sonnet ----


def _sonnet(plan: Plan) -> Iterator[Prompt]:
    """Lines of a poem: the first ones as a common prefix, the rest drawn, up to the asked length."""
    poem = rows.lines(Path(plan.dataset_path or ""))
    tokenizer = _tokens(plan)
    lengths = plan.lengths
    count = _line_counter(tokenizer)
    average, begin = sum(map(count, poem)) / len(poem), count(SONNET_BEGIN)
    total = max(1, round(((lengths.input or 0) - begin) / average))
    common = min(max(0, round((lengths.prefix - begin) / average)), total, len(poem))
    chance = random.Random(plan.seed)
    while True:
        yield _sonnet_prompt(
            poem, common, total - common, chance, tokenizer, lengths.input or 0, lengths.output
        )


def _sonnet_prompt(
    poem: list[str],
    common: int,
    drawn: int,
    chance: random.Random,
    tokenizer: Tokens | None,
    longest: int,
    output_len: int | None,
) -> Prompt:
    """One within the asked length, where lengths are known."""
    for _ in range(SONNET_TRIES):
        text = SONNET_BEGIN + "".join(poem[:common] + chance.choices(poem, k=drawn))
        length = tokenizer.count(text) if tokenizer else _estimate(text)
        if tokenizer is None or length <= longest:
            return _text(text, output_len, length)
    raise UsageError(f"--sonnet-input-len {longest} is too short for the lines of the poem: give more")


def _line_counter(tokenizer: Tokens | None) -> Callable[[str], int]:
    if tokenizer is None:
        return _estimate
    return lambda line: tokenizer.count(line, special=False)


WORDS = tuple(
    "the of and to in is you that it he was for on are as with his they at be this have from or one had by "  # noqa: SIM905
    "word but not what all were we when your can said there use an each which she do how their if will up "
    "other about out many then them these so some her would make like him into time has look two more write "
    "go see number no way could people my than first water been call who oil its now find long down day did "
    "get come made may part".split()
)
"""Short and common: about a token each in every vocabulary."""
