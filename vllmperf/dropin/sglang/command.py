"""The command from arguments to exit code, in the order of the original's steps."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from vllmperf.datasets.chance import Chance
from vllmperf.datasets.dataset import Sample
from vllmperf.dropin import own_words
from vllmperf.dropin.benchmark_serving import arrivals, both, console, server
from vllmperf.dropin.benchmark_serving.advice import advised, failures
from vllmperf.dropin.benchmark_serving.answers import Answer, Book
from vllmperf.dropin.benchmark_serving.command import INTERRUPTED, TEST_FAILED
from vllmperf.dropin.benchmark_serving.console import say
from vllmperf.dropin.benchmark_serving.data import note
from vllmperf.dropin.benchmark_serving.engine import Ended, Target, run
from vllmperf.dropin.benchmark_serving.prepare import host_url, task_of
from vllmperf.dropin.benchmark_serving.texts import Texts
from vllmperf.dropin.sglang import data, flags, results
from vllmperf.dropin.sglang.answers import Rule
from vllmperf.dropin.sglang.backends import BACKENDS, Backend, Common
from vllmperf.dropin.sglang.profile import SGLANG
from vllmperf.errors import TargetError, UsageError
from vllmperf.loadgen import resolve
from vllmperf.loadgen.subscribers import Writer
from vllmperf.target import AnswerError, Client
from vllmperf.tokenizer.tokens import Tokens

SETTLE_S = 1.0
TEST_OUTPUT_LEN = 32
MOST_FILES = 65535
NO_MODEL = (
    "Fail to load tokenizer config with error=We couldn't connect to 'https://huggingface.co' to load this file, "
    "couldn't find it in the cached files and it looks like {0} is not the path to a directory containing a file named "
    "config.json.\nCheckout your internet connection or see how to run the library in offline mode at "
    "'https://huggingface.co/docs/transformers/installation#offline-mode'."
)
"""What transformers says of a model that is neither here nor to be had."""
NO_TEMPLATE = (
    "\nWARNING It is recommended to use the `Chat` or `Instruct` model for benchmarking.\n"
    "Because when the tokenizer counts the output tokens, if there is gibberish, it might count incorrectly.\n"
)


def main(words: Sequence[str]) -> int:
    """Run the command with these arguments and give its exit code. Raises VllmperfError."""
    args = flags.parse(words)
    say(f"benchmark_args={flags.said_back(args)}")
    _raise_limit()
    common = _checked(args)
    args.port = BACKENDS[args.backend].port if args.port is None else args.port
    try:
        return _run(_prepared(args, common))
    except TargetError as error:
        raise TargetError(own_words.told(str(error), own_words.PROFILE)) from None


# ---- before the first request ----


def _raise_limit() -> None:
    """Every request has a connection of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        if soft < MOST_FILES:
            resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, hard))
    except ValueError as error:
        say(f"Fail to set RLIMIT_NOFILE: {error}")


def _checked(args: argparse.Namespace) -> Common:
    """What the original refuses, or fails on, before anything is loaded."""
    if args.backend == "gserver":
        raise UsageError("--backend gserver: the original has no client for it, choose another one")
    if args.backend in ("trt", "truss") and args.model is None:
        raise UsageError(f"--backend {args.backend} needs --model")
    if args.num_prompts < 1 and args.dataset_name != "generated-shared-prefix":
        raise UsageError(f"--num-prompts must be at least 1 (got {args.num_prompts})")
    if args.max_concurrency is not None and args.max_concurrency < 0:
        raise UsageError(f"--max-concurrency must be at least 1 (got {args.max_concurrency})")
    for rate in _rates(args):
        if not rate > 0:
            raise UsageError(f"--request-rate is {rate:g}: give a number above 0, -1 or inf")
    return Common(
        not args.disable_stream,
        not args.disable_ignore_eos,
        args.lora_name,
        args.return_logprob,
        _extra(args.extra_request_body),
    )


def _extra(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"--extra-request-body {text}: give a JSON object")
    return found


def _rates(args: argparse.Namespace) -> list[float]:
    """The request rates to run with; -1 is no limit. A range has a start, an end that it stays below, and a step."""
    if not args.multi:
        return [math.inf if args.request_rate == -1 else args.request_rate]
    try:
        parts = [int(part) for part in (args.request_rate_range or "2,34,2").split(",")]
        return [float(rate) for rate in (range(*parts) if len(parts) == 3 else parts)]
    except ValueError:
        raise UsageError(
            f"--request-rate-range {args.request_rate_range}: give START,STOP,STEP or rates"
        ) from None


@dataclass(frozen=True)
class Job:
    """Everything that is settled before the first request."""

    args: argparse.Namespace
    backend: Backend
    common: Common
    server: Client
    target: Target
    tokens: Tokens
    chance: Chance
    samples: list[Sample]

    @cached_property
    def rule(self) -> Rule:
        return Rule(self.backend, self.common.stream)

    @property
    def asked(self) -> dict[str, Any]:
        """The plan for hints."""
        more = {"url": self.target.url, "authorized": "OPENAI_API_KEY" in os.environ}
        return {**self.target.task.described(), **more}

    def body(self, sample: Sample) -> bytes:
        return self.backend.rendered(self.args.model, sample, self.common)


def _prepared(args: argparse.Namespace, common: Common) -> Job:
    """Model, tokenizer and samples, with what the original says of them."""
    base_url = args.base_url or host_url(args)
    backend = BACKENDS[args.backend]
    headers = _headers(backend)
    cacert = own_words.bundle(own_words.OPENSSL_BUNDLE, base_url)
    asked = Client(base_url, headers=headers, cacert=cacert, follow=True)
    if args.model is None:
        args.model = server.first_model(asked)[0]
    _tell_template(args.model)
    say(f"{flags.said_back(args)}\n")
    tokens = Tokens(args.tokenizer or args.model, cleans_bpe=True)
    chance = Chance(args.seed)
    samples = data.samples(args, tokens, chance)
    task = task_of(args, base_url, backend.path, headers, request_rate=_rates(args)[0], model=args.model)
    target = Target(
        task=task,
        url=base_url + backend.path,
        addresses=resolve.usable_addresses(base_url),
        headers=list(headers.items()),
        is_raw=Rule(backend, common.stream).is_raw,
        keeps_connections=SGLANG.keeps_connections,
    )
    return Job(args, backend, common, asked, target, tokens, chance, samples)


def _headers(backend: Backend) -> dict[str, str]:
    key = os.environ.get("OPENAI_API_KEY")
    usual = {"Content-Type": "application/json", "User-Agent": "vllmperf"}
    return {**usual, "Authorization": f"Bearer {key}"} if key and backend.authorized else usual


def _tell_template(model: str) -> None:
    """Warn of a model without a chat template, or one whose tokenizer is not to be had, as the original does."""
    try:
        has_template = Tokens(model).has_template
    except UsageError:
        say(NO_MODEL.format(model))
        has_template = False
    if not has_template:
        say(NO_TEMPLATE)


# ---- the runs ----


def _run(job: Job) -> int:
    """The warm-up that was asked for, then one measured run for each rate."""
    if job.args.with_warmup:
        say("Running warmup...")
        if code := _benchmark(job, _rates(job.args)[0], is_warm_up=True):
            return code
        say("Running benchmark...")
    for rate in _rates(job.args):
        if code := _benchmark(job, rate):
            return code
    return 0


def _benchmark(job: Job, rate: float, *, is_warm_up: bool = False) -> int:
    """Test request, measured run, table, and the line of the file unless this is a warm-up."""
    _test(job)
    if job.backend.is_sglang and not job.args.with_warmup:  # a warm-up that is flushed would be none
        _ask(job, "POST", "/flush_cache")
    time.sleep(SETTLE_S)
    if job.args.profile:
        _profiler(job, "start")
    unrecorded = argparse.Namespace(**{**vars(job.args), "both": False, "record": None})
    settings = unrecorded if is_warm_up else job.args
    with both.recorded(settings, job.target.task, job.args.backend, len(job.samples)) as record:
        outcome, ended = _measured(job, rate, record.writer)
        found = results.result(job.args, outcome)
        try:
            if not is_warm_up:
                results.append(job.args, found)
        finally:
            _report(job, outcome, found, record)
    return INTERRUPTED if ended.interrupted else 0


def _test(job: Job) -> None:
    """One request as the first one, but a short answer. Raises TargetError."""
    say("Starting initial single prompt test run...")
    first = job.samples[0]
    test = first._replace(output_len=min(first.output_len, TEST_OUTPUT_LEN))
    book = Book(job.rule, [test])
    ended = run(job.target, [job.body(test)], 1, book.take)
    if ended.interrupted:
        raise KeyboardInterrupt
    answer = book.answers(ended.start_mono_s)[0]
    if not answer.success:
        raise TargetError(TEST_FAILED + advised(answer, SGLANG, job.asked))
    say("Initial test run completed. Starting main benchmark run...")


def _measured(job: Job, rate: float, writer: Writer | None) -> tuple[results.Outcome, Ended]:
    n = len(job.samples)
    planned = arrivals.drawn("sglang", job.chance.numpy, n, rate, 1.0)
    texts = Texts(n)
    book = Book(job.rule, job.samples, texts=texts, keeps_all=True)
    bar = console.Bar(n, is_shown=not job.args.disable_tqdm)
    bar(0)
    most = job.args.max_concurrency or None
    target = replace(job.target, task=job.target.task.replace(request_rate=rate))
    ended = run(target, map(job.body, job.samples), n, book.take, planned.times_ns, most, bar, writer)
    bar(len(book))
    if job.args.profile:
        _profiler(job, "stop")
    bar.close()
    answers: list[Answer] = book.answers(ended.start_mono_s)
    duration_s = max(ended.end_s, planned.until_s if not ended.interrupted else 0.0)
    accept_length = _accept_length(job) if job.backend.is_sglang else None
    return results.calculate(answers, duration_s, job.tokens, texts, rate, accept_length), ended


def _report(job: Job, outcome: results.Outcome, found: dict[str, Any], record: both.Record) -> None:
    for line in failures(outcome.answers, SGLANG, job.asked):
        note(line)
    for line in results.table(job.args, outcome):
        say(line)
    by_our_names = {name.replace("e2e_latency", "e2el"): value for name, value in found.items()}
    # a server that ignores the end of a text generates what was asked for
    lens = outcome.output_lens if job.common.ignore_eos else outcome.retokenized
    if job.args.both:
        for line in record.beside(by_our_names, lens, SGLANG):
            say(line)


# ---- beside the load ----


def _ask(job: Job, method: str, path: str) -> bytes | None:
    """A question to the server; None when it refuses."""
    with contextlib.suppress(AnswerError):
        return job.server.post(path, b"") if method == "POST" else job.server.get(path)
    return None


def _profiler(job: Job, what: str) -> None:
    say(f"{'Starting' if what == 'start' else 'Stopping'} profiler...")
    if server.profiler(job.server, f"/{what}_profile", b""):
        say(f"Profiler {'started' if what == 'start' else 'stopped'}")


def _accept_length(job: Job) -> float | None:
    """Tokens a step of speculative decoding, as the server says; null where it does not."""
    with contextlib.suppress(ValueError, TypeError, KeyError, IndexError, AttributeError):
        found = json.loads(_ask(job, "GET", "/get_server_info") or b"{}")
        place = found["decode"][0] if job.args.pd_seperated else found
        value = place.get("avg_spec_accept_length")
        return value if isinstance(value, int | float) else None
    return None
