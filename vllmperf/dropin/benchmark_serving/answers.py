"""What a version's client makes of an answer: which events are tokens, when it ends, whether it counts.

Times are those of our engine, the kernel's stamp of each event, and events are never lost in transport; which of
them count is the version's rule, errors within the stream that it does not look at included. An answer without a
token, or one that broke off, is never a success.

Source: benchmarks/backend_request_func.py of vLLM 0.6.4.post1 and 0.8.5, vllm/benchmarks/lib/endpoint_request_func.py
of 0.33.0. The first two read lines, the third takes each whole JSON of its buffer; all under any content type.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.datasets.dataset import Sample
from vllmperf.dropin.benchmark_serving.backends import Backend
from vllmperf.dropin.benchmark_serving.engine import Reply
from vllmperf.dropin.benchmark_serving.profiles import Profile
from vllmperf.dropin.benchmark_serving.texts import Texts
from vllmperf.server_words import said

NO_DONE = "The stream ended without [DONE]."
NO_TEXT = "Unexpected response format: neither 'choices' nor 'text' found"
NO_STREAM = "the server did not stream, its answer came as one piece of JSON"
NO_CHUNK = "Never received a valid chunk to calculate TTFT.This response will be marked as failed!"
FLAG = {name: 1 << bit for bit, name in enumerate(_engine.EVENT_FLAGS)}
NO_GAPS: NDArray[np.float64] = np.zeros(0)
JSON = _engine.BODY_KINDS.index("json")
SAYS_SOMETHING = FLAG["text"] | FLAG["reasoning"] | FLAG["tool_calls"]
COMPLETED, STREAM_ERROR, NO_TOKENS, TRUNCATED = (
    _engine.OUTCOMES.index(name) for name in ("completed", "stream_error", "no_tokens", "truncated")
)


@dataclass(slots=True, eq=False)
class Answer:
    """One request as the version's client saw it. Times in s; 0 where nothing was measured, as there.

    words: what the server said of a failure, where error, as there, leaves it out. outcome: our name of how it ended.
    """

    prompt_len: int
    success: bool = False
    error: str = ""
    text: str = ""
    start_s: float = 0.0
    queue_s: float = 0.0
    latency_s: float = 0.0
    ttft_s: float = 0.0
    itl_s: NDArray[np.float64] = field(default_factory=lambda: NO_GAPS)
    output_tokens: int = 0
    sequences: int = 1
    server_queue_ms: float | None = None
    server_ttft_ms: float | None = None
    words: str = ""
    outcome: str = ""
    status: int = 0
    is_sent: bool = False

    @property
    def why(self) -> str:
        """The error with the server's own words."""
        return f"{self.error}: {self.words}" if self.words else self.error


class Reader(Protocol):
    """How a tool's client reads answers."""

    def read(self, sample: Sample, reply: Reply) -> Answer:
        """The answer to a sample; start_s counts from the start of the run."""

    def unread(self, sample: Sample) -> Answer:
        """The answer to a sample that was never sent."""


@dataclass(frozen=True, slots=True)
class Version:
    """A Reader: the rule of one version of vLLM for one backend."""

    profile: Profile
    backend: Backend
    ignore_eos: bool

    def read(self, sample: Sample, reply: Reply) -> Answer:
        return read(self.profile, self.backend, sample, reply, ignore_eos=self.ignore_eos)

    def unread(self, sample: Sample) -> Answer:
        return _unread(self.profile, self.backend, sample)


class Book:
    """Reads each reply as it comes and keeps its figures alone.

    texts: takes those that will be wanted after the run: all with keeps_all, else of answers whose tokens the server did not
    count.
    """

    def __init__(
        self,
        reader: Reader,
        samples: Sequence[Sample],
        *,
        texts: Texts | None = None,
        keeps_all: bool = False,
    ) -> None:
        self._reader, self._samples = reader, samples
        self._texts, self._keeps_all = texts, keeps_all
        self._answers: dict[int, Answer] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def take(self, reply: Reply) -> None:
        """Enter a finished request."""
        number = reply.record["index"]
        answer = self._reader.read(self._samples[number], reply)
        is_uncounted = answer.success and not answer.output_tokens
        if self._texts is not None and (self._keeps_all or is_uncounted):
            self._texts.put(number, answer.text)
        answer.text = ""
        self._answers[number] = answer

    def answers(self, start_mono_s: float) -> list[Answer]:
        """The answer to each sample. start_mono_s: when the run began, on the monotonic clock."""
        found = []
        for number, sample in enumerate(self._samples):
            answer = self._answers.get(number) or self._reader.unread(sample)
            if not answer.is_sent:
                answer.error = "not sent: the run was interrupted"
            else:
                answer.start_s += start_mono_s
            found.append(answer)
        return found


def read(profile: Profile, backend: Backend, sample: Sample, reply: Reply, *, ignore_eos: bool) -> Answer:
    """The answer to a sample; start_s counts from the start of the run."""
    answer = _unread(profile, backend, sample)

    def take() -> None:
        if backend.is_openai:
            _read_openai(answer, profile, reply, is_chat=backend.answer == "chat")
        else:
            READERS[backend.answer](answer, reply, profile)
        if backend.answer in ("tgi", "tensorrt") and ignore_eos and profile.version != "0.6":
            answer.output_tokens = sample.output_len

    return filled(answer, reply, take)


def filled(answer: Answer, reply: Reply, take: Callable[[], None]) -> Answer:
    """The answer with what holds for every tool: when it was sent, how it failed. take: reads the body of a 200 by the
    tool's rule; a transfer that did not end in order fails whatever that says."""
    if reply.record["sent_ns"] != _engine.NONE:
        answer.is_sent = True
        _take_start(answer, reply)
        if reply.record["status"] == 200:
            take()
            if not _is_sound(reply.record):
                answer.success, answer.error, answer.words = False, _why(reply), ""
        else:
            answer.error = _why(reply)
            answer.words = _words(reply, answer.error)
        # they are often alike
        answer.error, answer.words = sys.intern(answer.error), sys.intern(answer.words)
    return answer


def _unread(profile: Profile, backend: Backend, sample: Sample) -> Answer:
    answer = Answer(sample.prompt_len, sequences=_sequences(backend, sample))
    if backend.is_pooling and profile.version == "2026":
        answer.prompt_len = 0
    return answer


def _sequences(backend: Backend, sample: Sample) -> int:
    """Inputs of one request. A chat's messages are one, however many texts are in them."""
    if (
        backend.is_one_input
        or not isinstance(sample.prompt, list)
        or not sample.prompt
        or isinstance(sample.prompt[0], int | dict)
    ):
        return 1
    return len(sample.prompt) - ("rerank" in backend.suffix)


def _take_start(answer: Answer, reply: Reply) -> None:
    record = reply.record
    sent_ns = record["sent_ns"]
    answer.outcome, answer.status = _engine.OUTCOMES[record["outcome"]], record["status"]
    answer.start_s = sent_ns / 1e9
    due_ns = record["scheduled_ns"] if record["scheduled_ns"] != _engine.NONE else 0
    answer.queue_s = max(0, sent_ns - due_ns) / 1e9


def _is_sound(record: Mapping[str, int]) -> bool:
    """The transfer ended in order, or the answer said that it is whole: the version's rule decides what it is."""
    return record["outcome"] == COMPLETED or (
        record["outcome"] in (STREAM_ERROR, NO_TOKENS, TRUNCATED) and bool(record["clean_end"])
    )


def _words(reply: Reply, error: str) -> str:
    words = said(reply.error)
    return "" if words in error else words


def _why(reply: Reply) -> str:
    """The reason phrase of an HTTP error, as aiohttp gives it; else our name of what happened and its words."""
    status = reply.record["status"]
    if status and not 200 <= status <= 299:
        try:
            return HTTPStatus(status).phrase
        except ValueError:
            return str(status)
    name = _engine.OUTCOMES[reply.record["outcome"]]
    return f"{name}: {reply.error}" if reply.error else name


# ---- the OpenAI API's streams ----


def _read_openai(answer: Answer, profile: Profile, reply: Reply, is_chat: bool) -> None:
    flags = reply.events["flags"]
    is_token = _are_tokens(profile, flags, is_chat)
    is_old_chat = is_chat and profile.version != "2026"
    take_times(answer, reply, is_token, after_any_event=is_old_chat)
    last = _last_event(profile, flags, is_token, is_chat)
    if last is not None:
        answer.latency_s = since_sent(reply, last)
    answer.text = reply.text
    answer.success = bool(is_token.any())
    if not answer.success:
        answer.error = NO_CHUNK
        answer.words = NO_STREAM if reply.record["body_kind"] == JSON else said(reply.error)
    elif last is None and profile.version == "0.6":
        answer.success, answer.error = False, NO_DONE
    if profile.counts_usage:
        _take_usage(answer, profile, reply.last_words)


def _are_tokens(profile: Profile, flags: NDArray[np.uint32], is_chat: bool) -> NDArray[np.bool_]:
    """0.6 counts events with text; later ones any with choices, but 0.33 of a chat only those that say something, or
    that have an empty content and no role."""
    if profile.version == "0.6":
        return has_flag(flags, FLAG["text"])
    if profile.version == "0.8" or not is_chat:
        return has_flag(flags, FLAG["choices"])
    is_empty = has_flag(flags, FLAG["content"]) & ~has_flag(flags, FLAG["role"])
    return is_empty | has_flag(flags, SAYS_SOMETHING)


def has_flag(flags: NDArray[np.uint32], wanted: int) -> NDArray[np.bool_]:
    """Which events have one of the wanted flags."""
    found: NDArray[np.bool_] = (flags & wanted) != 0
    return found


def _last_event(
    profile: Profile, flags: NDArray[np.uint32], is_token: NDArray[np.bool_], is_chat: bool
) -> int | None:
    """The event at which a request ends."""
    ends = is_token
    if profile.version == "0.6":
        ends = has_flag(flags, FLAG["done"])
    elif profile.version == "0.8" and is_chat:  # the usage event too
        ends = ~has_flag(flags, FLAG["done"])
    found = np.flatnonzero(ends)
    return int(found[-1]) if len(found) else None


def take_times(
    answer: Answer, reply: Reply, is_token: NDArray[np.bool_], *, after_any_event: bool = False
) -> None:
    """TTFT and gaps from the token events. after_any_event: a gap begins at the event before the token, whatever that was."""
    every = reply.events["arrived_ns"]
    stamps = every[is_token]
    if len(stamps):
        answer.ttft_s = float(stamps[0] - reply.record["sent_ns"]) / 1e9
        gaps_ns = np.diff(every, prepend=0)[is_token][1:] if after_any_event else np.diff(stamps)
        answer.itl_s = gaps_ns / 1e9


def since_sent(reply: Reply, event: int) -> float:
    """Seconds from sending to an event by its number."""
    return float(reply.events["arrived_ns"][event] - reply.record["sent_ns"]) / 1e9


def _take_usage(answer: Answer, profile: Profile, last_words: str) -> None:
    """Of the event without choices alone: usage that comes with the last token is not seen."""
    last = object_of(last_words)
    usage = last.get("usage")
    if isinstance(usage, dict):
        answer.output_tokens = count_of(usage.get("completion_tokens")) or 0
        prompt_tokens = count_of(usage.get("prompt_tokens"))
        if profile.server_prompt and prompt_tokens is not None:
            answer.prompt_len = prompt_tokens
    metrics = last.get("metrics")
    if profile.version == "2026" and isinstance(metrics, dict):
        answer.server_queue_ms = _number(metrics.get("queue_time_ms"))
        answer.server_ttft_ms = _number(metrics.get("time_to_first_token_ms"))


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


def count_of(value: Any) -> int | None:
    """A number of tokens; None for what is none. 5.0 is five."""
    number = _number(value)
    return None if number is None or number < 0 or number != int(number) else int(number)


def object_of(text: str) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# ---- other formats ----


def _read_tgi(answer: Answer, reply: Reply, _profile: Profile) -> None:
    """TGI: every event is a token; the text stands in the last one, and without it the request has failed."""
    objects = _objects(answer, reply)
    whole = next(
        (event["generated_text"] for event in reversed(objects) if event.get("generated_text")), None
    )
    answer.text = str(whole or "")
    answer.success = bool(objects) and "generated_text" in objects[-1]
    if not answer.success:
        answer.error = 'the stream has no "generated_text" in its last event'


def _read_tensorrt(answer: Answer, reply: Reply, _profile: Profile) -> None:
    """TensorRT-LLM: every event is a token with its part of the text."""
    objects = _objects(answer, reply)
    answer.text = "".join(str(event.get("text_output") or "") for event in objects)
    answer.success = any("text_output" in event for event in objects)
    if not answer.success:
        answer.error = 'no event of the stream has a "text_output"'


def _objects(answer: Answer, reply: Reply) -> list[dict[str, Any]]:
    """All events' objects; their times are taken."""
    every = np.ones(len(reply.events), dtype=np.bool_)
    take_times(answer, reply, every)
    if len(every):
        answer.latency_s = since_sent(reply, len(every) - 1)
    return [object_of(line) for line in reply.text.split("\n") if line]


def _read_plain(answer: Answer, reply: Reply, profile: Profile) -> None:
    """DeepSpeed-MII: one JSON object, no stream and no time to first token. Since 0.8 its OpenAI form too."""
    whole = object_of(reply.text)
    answer.latency_s = whole_s(reply)
    is_old = profile.version == "0.6"
    text = whole.get("text") if is_old or "choices" not in whole else [first_of(whole["choices"]).get("text")]
    if isinstance(text, list | str) and text and text[0] is not None:
        answer.text, answer.success = str(text[0]), True
        return
    answer.error = 'the answer has no list "text": it is none of DeepSpeed-MII' if is_old else NO_TEXT
    answer.words = said(reply.text)


def whole_s(reply: Reply) -> float:
    """Seconds until the body was there; 0 when none came."""
    last_ns = reply.record["last_token_ns"]
    return 0.0 if last_ns == _engine.NONE else float(last_ns - reply.record["sent_ns"]) / 1e9


def first_of(found: Any) -> dict[str, Any]:
    """The first object of a list; an empty one when there is none."""
    return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}


def _read_pooling(answer: Answer, reply: Reply, _profile: Profile) -> None:
    answer.latency_s = answer.ttft_s = whole_s(reply)
    whole = object_of(reply.text)
    if not whole or whole.get("error"):
        answer.error = "the answer is an error" if whole else "the answer is no JSON object"
        answer.words = said(reply.text)
        return
    usage = whole.get("usage")
    answer.prompt_len = (count_of(usage.get("prompt_tokens")) or 0) if isinstance(usage, dict) else 0
    answer.success = True


READERS: Mapping[str, Callable[[Answer, Reply, Profile], None]] = {
    "tgi": _read_tgi,
    "tensorrt": _read_tensorrt,
    "plain": _read_plain,
    "pooling": _read_pooling,
}
