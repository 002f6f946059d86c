"""Enters each answer into the statistics and says what the original says of it."""

from __future__ import annotations

import json
from collections import Counter

from vllmperf.dropin.llm_bench.answers import Answer
from vllmperf.dropin.llm_bench.counting import token_count
from vllmperf.dropin.llm_bench.log import Log
from vllmperf.dropin.llm_bench.options import Options
from vllmperf.dropin.llm_bench.sending import Asked
from vllmperf.dropin.llm_bench.stats import Stats

METRIC = "METRIC"
MOST_SHOWN = 10
"""Of equal errors: a server that refuses all fails thousands of times a second."""
LATE = (
    "WARNING: not enough locust users to keep up with the desired QPS. Either the number of locust users "
    "is too low or the server is overloaded. Delay: {:.3f}s"
)
"""Kept to the letter: scripts look for it."""
UNBELIEVABLE = "WARNING: usage says {} tokens and the chunks show more: {} are counted"


class Book:
    """The statistics of a run. resets_s: when they are thrown away once; None: never, or at the first answer."""

    def __init__(self, options: Options, path: str, log: Log) -> None:
        self.stats = Stats()
        self.exceptions = self.successes = 0
        self._shown: Counter[str] = Counter()
        self._options, self._path, self._log = options, path, log
        self._count = token_count(options) if options.is_old else None
        self._wants_reset = options.is_old and options.qps is not None

    def say(self, text: str, level: str = "INFO") -> None:
        """Where the original says it: 2024-10 on the standard output, 2026-06 in the log."""
        if self._options.is_old:
            print(text)
        else:
            self._log("load_test", text, level)

    def _say_between(self, head: str, text: str) -> None:
        for line in (head, text, "---"):
            self.say(line)

    def late(self, delay_s: float) -> None:
        """A request left later than its tick because no user was free."""
        self.say(LATE.format(delay_s), "WARNING")

    def take(self, answer: Answer, asked: Asked) -> None:
        """One finished request."""
        if self._options.qps is not None and answer.slot_wait_s > 0:
            self.late(answer.slot_wait_s)
        if asked.body is not None:
            self._say_between("--- Request payload ---", json.dumps(json.loads(asked.body), indent=2))
        if answer.content.unreadable is not None or answer.content.lacking is not None:
            self._take_failure(answer)
            return
        self._take_success(answer, asked)
        self.successes += 1
        if self._wants_reset:
            self._wants_reset = False
            print("Resetting stats after traffic reach a steady state")
            self.stats.reset(answer.end_s)
        self._add_request(answer)  # behind the reset: locust counts a request when its task lets go of it

    def _add_request(self, answer: Answer) -> None:
        self.stats.add("POST", self._path, answer.headers_s * 1e3, answer.end_s)

    def _take_failure(self, answer: Answer) -> None:
        """2024-10 raises within its task for all but unreadable answers: locust counts that as no request."""
        unreadable, lacking = answer.content.unreadable, answer.content.lacking
        if unreadable is not None:
            self.say(f"Failed to parse response: {unreadable}", "ERROR")
        elif self._options.is_old:
            self.exceptions += 1
            self._show(f"Error in response: {lacking}")
            return
        self._add_request(answer)
        reason = unreadable if unreadable is not None else f"Error in response: {lacking}"
        self.stats.fail("POST", self._path, f"CatchResponseError({reason!r})")

    def _show(self, error: str) -> None:
        self._shown[error] += 1
        if self._shown[error] > MOST_SHOWN:
            return
        last = " (the last one shown)" if self._shown[error] == MOST_SHOWN else ""
        self._log("locust.user.task", error + last, "ERROR")

    def _take_success(self, answer: Answer, asked: Asked) -> None:
        tokens = self._tokens(answer)
        if answer.content.usage_tokens is not None:
            self.say(UNBELIEVABLE.format(answer.content.usage_tokens, answer.content.tokens), "WARNING")
        prompt_tokens = answer.content.prompt_tokens or asked.prompt_tokens or 0
        self.say(_received(answer, tokens, prompt_tokens, self._options))
        if self._options.show_response:
            self._say_between("---", answer.text)
        self._add_times(answer)
        if tokens:
            if tokens != asked.max_tokens:
                self.say(f"WARNING: wrong number of tokens: {tokens}, expected {asked.max_tokens}", "WARNING")
            self._add_token_times(answer, tokens)
        if self._options.is_old:
            self._check_prompt(answer, asked)
        else:
            self._add_new(answer, tokens, prompt_tokens)
        if prompt_tokens:
            self._add("prompt_tokens", prompt_tokens, answer)

    def _tokens(self, answer: Answer) -> int:
        if self._count is None:
            return answer.content.tokens or 0
        counted, told = self._count(answer.text), answer.content.tokens
        if told is not None and told != counted:
            print(f"WARNING: tokenizer token count {counted} != {told} received from server")
        return counted if told is None else told

    def _check_prompt(self, answer: Answer, asked: Asked) -> None:
        told, counted = answer.content.prompt_tokens, asked.prompt_tokens
        if told and counted is not None and told != counted:
            print(f"WARNING: prompt usage tokens {told} != {counted} derived from local tokenizer")

    def _add(self, name: str, value: float, answer: Answer) -> None:
        self.stats.add(METRIC, name, value, answer.end_s)

    def _add_times(self, answer: Answer) -> None:
        if answer.text:
            self._add("latency_per_char", answer.generation_s / len(answer.text) * 1e3, answer)
        if self._options.stream and answer.first_s is not None:
            self._add("time_to_first_token", answer.first_s * 1e3, answer)
        self._add("total_latency", answer.total_s * 1e3, answer)

    def _add_token_times(self, answer: Answer, tokens: int) -> None:
        self._add("num_tokens", tokens, answer)
        self._add("latency_per_token", answer.generation_s / tokens * 1e3, answer)
        self._add("overall_latency_per_token", answer.total_s / tokens * 1e3, answer)

    def _add_new(self, answer: Answer, tokens: int, prompt_tokens: int) -> None:
        """What 2026-06 adds; times of these in s."""
        for name, value in new_metrics(answer, tokens, prompt_tokens).items():
            if value is not None:
                self._add(name, value, answer)


def new_metrics(answer: Answer, tokens: int, prompt_tokens: int) -> dict[str, float | None]:
    """The metrics that 2024-10 has not, times in s; None where nothing was generated."""
    if not tokens:
        return {}
    chars, generation_s = len(answer.text), answer.generation_s
    return {
        "char_count": chars,
        "chars_per_second": chars / answer.total_s,
        "completion_tokens": tokens,
        "generation_time": generation_s,
        "generation_tokens": tokens,
        "generation_tokens_per_second": tokens / generation_s if generation_s > 0 else None,
        "response_time": answer.total_s,
        "token_count": tokens,
        "tokens_per_second": tokens / answer.total_s,
        "total_tokens": tokens + prompt_tokens,
        "ttft": answer.first_s,
        "cached_tokens": answer.content.cached_tokens,
    }


def _received(answer: Answer, tokens: int, prompt_tokens: int, options: Options) -> str:
    first_s = answer.total_s if answer.first_s is None else answer.first_s
    text = (
        f"Response received: total {answer.total_s * 1e3:.2f} ms, first token {first_s * 1e3:.2f} ms, "
        f"{len(answer.text)} chars, "
    )
    if options.is_old:
        return f"{text}{tokens} tokens"
    prompt = f"{prompt_tokens} prompt, " if prompt_tokens else ""
    cached = "" if answer.content.cached_tokens is None else f"{answer.content.cached_tokens} cached, "
    return f"{text}{prompt}{cached}{tokens} completion"
