"""What SGLang's client makes of an answer: which events are tokens, when it ends, how many tokens it had.

Times are the kernel's stamps of the events. Source: sglang/bench_serving.py of 0.4.4.post1, which reads lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import vllmperf._engine as _engine
from vllmperf.datasets.dataset import Sample
from vllmperf.dropin.benchmark_serving.answers import (
    COMPLETED,
    FLAG,
    JSON,
    NO_TOKENS,
    Answer,
    count_of,
    filled,
    first_of,
    has_flag,
    object_of,
    since_sent,
    take_times,
    whole_s,
)
from vllmperf.dropin.benchmark_serving.engine import Reply
from vllmperf.dropin.sglang.backends import Backend

NO_EVENT = "the answer holds no event"
NO_COMPLETION = "the answer is no completion"


@dataclass(frozen=True, slots=True)
class Rule:
    """A benchmark_serving.answers.Reader: how answers of a backend are read. streams: events, else one JSON object."""

    backend: Backend
    streams: bool

    @property
    def is_raw(self) -> bool:
        """The engine hands on the events' data as they are."""
        return not self.streams or self.backend.answer != "completions"

    def read(self, sample: Sample, reply: Reply) -> Answer:
        answer = self.unread(sample)
        answer.output_tokens = sample.output_len
        return filled(answer, reply, lambda: self._take(answer, reply))

    def unread(self, sample: Sample) -> Answer:
        return Answer(sample.prompt_len)

    def _take(self, answer: Answer, reply: Reply) -> None:
        if reply.record["body_kind"] == JSON:
            (_take_whole if self.is_raw else _take_scanned)(answer, reply)
        elif not len(reply.events):
            answer.error = NO_EVENT
        else:
            READERS[self.backend.answer](answer, reply)
            answer.success = not answer.error


def _take_completions(answer: Answer, reply: Reply) -> None:
    """A token is an event with text; the last event of all, [DONE] too, ends the request."""
    take_times(answer, reply, has_flag(reply.events["flags"], FLAG["text"]))
    answer.latency_s = since_sent(reply, len(reply.events) - 1)
    answer.text = reply.text
    said = reply.record["usage_tokens"]
    if said != _engine.NONE:
        answer.output_tokens = said


def _take_generate(answer: Answer, reply: Reply) -> None:
    """An event holds the whole text so far and its number of tokens, over which the gap before it is spread."""
    answer.latency_s = since_sent(reply, len(reply.events) - 1)
    last_ns = before = 0
    gaps_s: list[float] = []
    for number, event in enumerate(_objects(reply)):
        if not event.get("text"):
            continue
        answer.text, tokens = str(event["text"]), _tokens(event)
        at_ns = int(reply.events["arrived_ns"][number])
        if not last_ns:
            answer.ttft_s = since_sent(reply, number)
        elif tokens == before:
            continue
        else:
            gaps_s += [(at_ns - last_ns) / 1e9 / (tokens - before)] * (tokens - before)
        last_ns = at_ns
        before = answer.output_tokens = tokens
    answer.itl_s = np.asarray(gaps_s)


def _take_tensorrt(answer: Answer, reply: Reply) -> None:
    """Every event is a token with its part of the text."""
    take_times(answer, reply, np.ones(len(reply.events), dtype=np.bool_))
    answer.latency_s = since_sent(reply, len(reply.events) - 1)
    objects = _objects(reply)
    answer.text = "".join(str(event.get("text_output") or "") for event in objects)
    if not any("text_output" in event for event in objects):
        answer.error = 'no event of the stream has a "text_output"'


READERS: Mapping[str, Callable[[Answer, Reply], None]] = {
    "completions": _take_completions,
    "generate": _take_generate,
    "tensorrt": _take_tensorrt,
}


def _objects(reply: Reply) -> list[dict[str, Any]]:
    """The object of each event, an empty one for [DONE]."""
    return [object_of(line) for line in reply.text.split("\n")][: len(reply.events)]


def _tokens(event: Mapping[str, Any]) -> int:
    meta = event.get("meta_info")
    return (count_of(meta.get("completion_tokens")) or 0) if isinstance(meta, dict) else 0


def _take_scanned(answer: Answer, reply: Reply) -> None:
    """The same of a server that did not stream although it was asked to: the engine has read the object."""
    answer.success = reply.record["outcome"] in (COMPLETED, NO_TOKENS)
    if not answer.success:
        answer.error = NO_COMPLETION
        return
    answer.latency_s, answer.text = whole_s(reply), reply.text
    answer.ttft_s = answer.latency_s if reply.text else 0.0
    if reply.record["usage_tokens"] != _engine.NONE:
        answer.output_tokens = reply.record["usage_tokens"]


def _take_whole(answer: Answer, reply: Reply) -> None:
    """An answer in one piece: its only time is that of its end."""
    whole = object_of(reply.text)
    choice = first_of(whole.get("choices"))
    part = choice.get("message") or choice.get("delta") or {}
    text = whole.get("text") or whole.get("text_output") or choice.get("text") or part.get("content")
    answer.success = bool(choice) or "text" in whole or "text_output" in whole
    if not answer.success:
        answer.error = NO_COMPLETION
        return
    answer.latency_s = whole_s(reply)
    answer.ttft_s = answer.latency_s if text else 0.0
    answer.text = str(text or "")
    usage = whole.get("usage") or whole.get("meta_info")
    said = count_of(usage.get("completion_tokens")) if isinstance(usage, dict) else None
    answer.output_tokens = answer.output_tokens if said is None else said
