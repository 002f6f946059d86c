"""What a data set is, what is asked of it, and what it gives."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from vllmperf.errors import SettingError

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens

Value = str | int | float
Anything = TypeVar("Anything")
BYTES_PER_TOKEN = 4
BLOCK_TOKENS = 16
"""Tokens of a block of a prefix cache where the server does not tell: vLLM's default on GPUs."""
BETWEEN_TURNS = "\n"
"""Before what the user says, where a conversation is one text."""


class Lengths(NamedTuple):
    """Tokens of a prompt, an answer, and the prefix that all prompts share. None: as the data has it."""

    input: int | None = None
    output: int | None = None
    prefix: int = 0


class Spec(NamedTuple):
    """What is asked of a data set. Lengths in tokens, None: the data set's own. options: by Option.name.

    num_prompts: how many prompts will be taken, None when only time ends the run. takes_ids: a prompt may be a list of
    token ids (a completion), not only text. is_models_tokenizer: nobody named `tokenizer`, it is that of the model.
    """

    dataset_name: str = "random"
    dataset_path: str | None = None
    tokenizer: str | None = None
    input_len: int | None = None
    output_len: int | None = None
    prefix_len: int | None = None
    random_range_ratio: float = 0.0
    options: Mapping[str, Value] = MappingProxyType({})
    seed: int = 0
    num_prompts: int | None = 1000
    takes_ids: bool = True
    is_models_tokenizer: bool = False

    def lengths(self, usual: Lengths) -> Lengths:
        """What is asked for, else the usual."""
        return Lengths(
            self.input_len or usual.input,
            self.output_len or usual.output,
            usual.prefix if self.prefix_len is None else self.prefix_len,
        )

    @property
    def path(self) -> str:
        return self.dataset_path or ""


class Prompt(NamedTuple):
    """One prompt as JSON (a text, or a list of token ids), and its lengths in tokens, None where not known.

    Without a tokenizer input_len is an estimate: a token for a word of made-up text, or for 4 bytes of other text.
    """

    json: str
    output_len: int | None
    input_len: int | None = None

    @staticmethod
    def of(content: str | Sequence[Any], output_len: int | None, input_len: int | None) -> Prompt:
        return Prompt(json.dumps(content, separators=(",", ":")), output_len, input_len)


class Ask(NamedTuple):
    """What comes new into one turn, and the lengths in tokens: of this text, and of the answer that is asked for.

    after: numbers of earlier turns; it leaves when all of them are answered, and continues the first. None: the turn before.
    is_fresh: it continues none of them, but the system prompt. wait_s: from the last of these answers on; None: the think time.
    answers_of: turns among those in `after` whose real answers stand before the text, as what a subagent found.
    """

    text: str
    output_len: int | None
    input_len: int
    after: tuple[int, ...] | None = None
    is_fresh: bool = False
    wait_s: float | None = None
    answers_of: tuple[int, ...] = ()


class Conversation(NamedTuple):
    """What one session says. system: stands before its first turn; input lengths leave it out."""

    system: str | None
    asks: tuple[Ask, ...]
    system_len: int = 0


def again(found: Sequence[Anything], draw: random.Random) -> Iterator[Anything]:
    """All of them in order, then drawn again, without end."""
    yield from found
    while True:
        yield draw.choice(found)


class Sample(NamedTuple):
    """One request before it is one. Lengths in tokens, as the original counts them.

    prompt: a text, token ids, several texts (embeddings, rerank), or chat messages. number: of its request id,
    None when it has none. time_s: when a trace sends it.
    """

    prompt: str | list[int] | list[str] | list[dict[str, Any]]
    prompt_len: int
    output_len: int
    number: int | None = None
    time_s: float | None = None


class Reuse(NamedTuple):
    """Tokens that a prefix cache holds, of all tokens of the prompts."""

    cached: int
    tokens: int

    @property
    def rate(self) -> float | None:
        return self.cached / self.tokens if self.tokens else None


class Option(NamedTuple):
    """A setting of one data set. name: that of the Python keyword and, with dashes, of the flag.

    default: None where nothing is asked for. A number below `least` is refused.
    """

    name: str
    kind: type[str] | type[int] | type[float]
    default: Value | None
    help: str
    least: float = -math.inf

    def checked(self, value: object) -> Value:
        """The value of its kind. Raises SettingError."""
        kinds = {str: "a text", int: "a whole number", float: "a number"}
        wanted = kinds[self.kind] + (f" of at least {self.least:g}" if self.least > -math.inf else "")
        refusal = SettingError(
            "{" + self.name + "} must be {wanted} (got {got})", wanted=wanted, got=repr(value)
        )
        if self.kind is str:
            if not isinstance(value, str):
                raise refusal
            return value
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise refusal
        if value < self.least or (self.kind is int and value != int(value)):
            raise refusal
        return self.kind(value)

    def of(self, spec: Spec) -> Any:
        """What is asked for, else the default."""
        return spec.options.get(self.name, self.default)


Prompts = Callable[[Spec, "Tokens | None"], Iterator[Prompt]]
Conversations = Callable[[Spec, "Tokens | None"], Iterator[Conversation]]


class DataSet(NamedTuple):
    """One data set. about: what its prompts are. path: what --dataset-path names, None when it has no path.

    own_lengths: which of input, output and prefix have a flag of this data set (--NAME-input-len, …). is_made_up: the
    prompts are drawn, so that without a tokenizer they are token ids, or common words.
    prompts: all of the data set in order, then drawn again, without end; the tokenizer is None when none was asked for.
    times_s: when each request is sent, for a data set that knows it. shaped: the same length of prompts, of which the common
    prefix is this share, for a data set whose prefix can be chosen. reuse: for one that says which blocks are the same, what a
    cache that forgets nothing holds of its prompts, and the tokens of a block. conversations: for one whose requests are turns,
    each behind the answer to the one before; all in order, then drawn again, without end. `prompts` gives their first turns.
    """

    name: str
    about: str
    prompts: Prompts
    path: str | None = None
    lengths: Lengths = Lengths()
    own_lengths: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    is_made_up: bool = False
    times_s: Callable[[Spec], list[float]] | None = None
    shaped: Callable[[Spec, float], Spec] | None = None
    reuse: Callable[[Spec], tuple[Reuse, int]] | None = None
    conversations: Conversations | None = None


# ---- what several data sets share ----


def first_turns(conversations: Conversations) -> Prompts:
    """`prompts` of a data set that has conversations: the first turn of each as a prompt of its own."""

    def prompts(spec: Spec, tokens: Tokens | None) -> Iterator[Prompt]:
        for conversation in conversations(spec, tokens):
            ask = conversation.asks[0]
            parts = [part for part in (conversation.system, ask.text) if part]
            length = conversation.system_len + ask.input_len
            yield Prompt.of(BETWEEN_TURNS.join(parts), ask.output_len, length)

    return prompts


def prefix_of(total: int, share: float) -> int:
    """Tokens of a common prefix that is about this share of a prompt: whole blocks of a cache, and a token left."""
    blocks = min(round(total * share / BLOCK_TOKENS), (total - 1) // BLOCK_TOKENS)
    return blocks * BLOCK_TOKENS


class Counter(Protocol):
    """What counts tokens: a tokenizer, or the estimate. special: with those that the model puts around a text."""

    def counts(self, texts: Sequence[str], special: bool = True) -> list[int]: ...
    def count(self, text: str, special: bool = True) -> int: ...


class Estimate:
    """Stands in for a tokenizer: a token for 4 bytes."""

    def counts(self, texts: Sequence[str], special: bool = True) -> list[int]:  # noqa: ARG002 as Tokens has it
        return [-(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN) for text in texts]

    def count(self, text: str, special: bool = True) -> int:
        return self.counts([text], special)[0]


def repeated(spec: Spec, prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    """All of them, then some drawn again, without end. UsageError when there is none."""
    found = []
    for prompt in prompts:
        yield prompt
        found.append(prompt)
    if not found:
        raise SettingError("{dataset_path} {path} holds no usable row", path=spec.path)
    chance = random.Random(spec.seed)
    while True:
        yield chance.choice(found)


def of_samples(spec: Spec, samples: Iterable[Sample]) -> Iterator[Prompt]:
    """Samples as prompts, with the output length that is asked for, if any."""
    made = (
        Prompt.of(sample.prompt, spec.output_len or sample.output_len or None, sample.prompt_len)
        for sample in samples
    )
    return repeated(spec, made)


def counted(spec: Spec, tokens: Tokens, samples: Sequence[Sample]) -> Iterator[Prompt]:
    """The same for texts whose lengths vLLM only supposes: they are counted, so that a server's count can be checked."""
    lengths = tokens.counts([str(sample.prompt) for sample in samples])
    made = zip(samples, lengths, strict=True)
    return of_samples(spec, (sample._replace(prompt_len=length) for sample, length in made))


def needed(spec: Spec, source: Iterable[Any]) -> list[Any]:
    """As many as the run takes; a bad one behind them does no harm, and one among them is found before the run."""
    return list(itertools.islice(source, spec.num_prompts))
