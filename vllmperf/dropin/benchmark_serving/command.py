"""The command from arguments to exit code, in the order of the original's steps."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from vllmperf.datasets.dataset import Sample
from vllmperf.dropin import own_words
from vllmperf.dropin.benchmark_serving import arrivals, both, console, data, flags, plots, results, server
from vllmperf.dropin.benchmark_serving.advice import advised, failures
from vllmperf.dropin.benchmark_serving.answers import Answer, Book
from vllmperf.dropin.benchmark_serving.backends import check_best_of, check_url
from vllmperf.dropin.benchmark_serving.engine import run
from vllmperf.dropin.benchmark_serving.metrics import calculate
from vllmperf.dropin.benchmark_serving.prepare import Job, check, goodput, percentiles, prepared
from vllmperf.dropin.benchmark_serving.probe import Prober
from vllmperf.dropin.benchmark_serving.results import Outcome
from vllmperf.dropin.benchmark_serving.texts import Texts
from vllmperf.errors import TargetError, UsageError
from vllmperf.loadgen.subscribers import Watch, Writer

INTERRUPTED = 130
RETRY_S = 5.0
TEST_FAILED = (
    "Initial test run failed - Please make sure benchmark arguments are correctly specified. Error: "
)


def main(words: Sequence[str], default: str = "vllm-0.6", watch: Watch | None = None) -> int:
    """Run the command with these arguments and give its exit code. watch: listens to the measured run. Raises VllmperfError."""
    profile, rest = flags.choose(words, default)
    args = flags.parse(profile, rest)
    now = datetime.now()
    # the guides that this is called from cut lines by number: vLLM's own log takes the first one
    data.note(
        f"INFO {now:%m-%d %H:%M:%S} vllmperf.py:1] {profile.program} as in {profile.release}, "
        f"profile {profile.name}"
    )
    console.say(flags.said_back(profile, args))
    check(profile, args)
    try:
        return _run(prepared(profile, args), watch)
    except TargetError as error:
        own = own_words.PROFILE_2026 if profile.version == "2026" else own_words.PROFILE
        raise TargetError(own_words.told(str(error), own)) from None


# ---- the run ----


def _run(job: Job, watch: Watch | None) -> int:
    console.say("Starting initial single prompt test run...")
    test = job.samples[0]
    if job.version == "2026":
        _ready_check(job, test)
        _warm_up(job, test)
        console.say("Starting main benchmark run...")
    else:
        answer = _asked(job, [test])[0]
        if not answer.success:
            raise TargetError(TEST_FAILED + advised(answer, job.profile, job.asked))
        console.say("Initial test run completed. Starting main benchmark run...")
    models = _models(job)
    if job.args.profile:
        _profiler(job, "start", test)
    for line in console.traffic(job.profile, job.args):
        console.say(line)
    planned = _arrivals(job)
    with both.recorded(job.args, job.target.task, job.backend_name, len(job.samples)) as record:
        outcome, interrupted = _measured(job, models, planned, test, record.writer, watch)
        try:  # whatever becomes of the one, the other is not lost
            _write(job, outcome)
        finally:
            _report(job, outcome, record)
    if job.version == "2026" and job.args.profile:
        _profiler(job, "stop", test)
    return INTERRUPTED if interrupted else 0


def _write(job: Job, outcome: Outcome) -> None:
    """The files that are asked for. UsageError when one cannot be written."""
    date = datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        results.save(job.profile, job.args, outcome, date)
        if job.version == "2026":
            plots.save(job.args, outcome, results.path_of(job.profile, job.args, job.model_id, date))
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror or error}") from None


def _report(job: Job, outcome: Outcome, record: both.Record) -> None:
    for line in failures(
        outcome.answers, job.profile, job.asked
    ):  # not below the table: the guides cut that by tail
        data.note(line)
    for line in console.report(job.profile, job.args, outcome):
        console.say(line)
    if job.args.both:
        lens = outcome.metrics.output_lens if outcome.has_tokenizer else None
        result = results.result(job.profile, job.args, outcome, "")
        for line in record.beside(result, lens, job.profile):
            console.say(line)


def _asked(job: Job, samples: Sequence[Sample], progress: console.Bar | None = None) -> list[Answer]:
    """Answers to requests beside the measured ones."""
    check_url(job.args.backend, job.backend, job.target.url)
    check_best_of(job.backend_name, job.common.best_of)
    book = Book(job.reader, samples)
    ended = run(
        job.target.without_ids(),
        map(job.body, samples),
        len(samples),
        book.take,
        max_concurrency=job.args.max_concurrency or None,
        progress=progress,
    )
    if ended.interrupted:
        raise KeyboardInterrupt
    return book.answers(ended.start_mono_s)


def _ready_check(job: Job, test: Sample) -> None:
    """Ask until there is an answer, every 5 s. Raises TargetError when the time is over."""
    timeout_s = job.args.ready_check_timeout_sec
    if timeout_s <= 0:
        console.say("Skipping endpoint ready check.")
        return
    console.say(f"Waiting for endpoint to become up in {timeout_s} seconds")
    deadline_s = time.monotonic() + timeout_s
    while not (answer := _asked(job, [test])[0]).success:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TargetError(TEST_FAILED + advised(answer, job.profile, job.asked))
        time.sleep(min(RETRY_S, left_s))
        if time.monotonic() >= deadline_s:
            raise TargetError(TEST_FAILED + advised(answer, job.profile, job.asked))
    console.say("Initial test run completed.")


def _warm_up(job: Job, test: Sample) -> None:
    n = job.args.num_warmups
    if n <= 0:
        return
    console.say(f"Warming up with {n} requests...")
    bar = console.Bar(n, is_shown=not job.args.disable_tqdm)
    _asked(job, [test] * n, bar)
    bar(n)
    bar.close()
    console.say("Warmup run completed.")


def _models(job: Job) -> list[str]:
    """The model of each request: an adapter's name where there are some."""
    names = getattr(job.args, "lora_modules", None)
    n = len(job.samples)
    if not names:
        return [job.model_name] * n
    if getattr(job.args, "lora_assignment", "random") == "round-robin":
        return [names[i % len(names)] for i in range(n)]
    return [job.chance.python.choice(names) for _ in range(n)]


def _arrivals(job: Job) -> arrivals.Arrivals:
    args = job.args
    if getattr(args, "self_timed", False):
        return arrivals.of_trace(job.samples)
    ramp_up = None
    if job.version == "2026" and args.ramp_up_strategy is not None:
        ramp_up = arrivals.RampUp(args.ramp_up_strategy, args.ramp_up_start_rps, args.ramp_up_end_rps)
    return arrivals.drawn(
        job.profile.version, job.chance.numpy, len(job.samples), args.request_rate, args.burstiness, ramp_up
    )


def _profiler(job: Job, what: str, test: Sample) -> None:
    """Start or stop the server's profiler; before 2026 it got a whole request as its body."""
    is_start = what == "start"
    console.say(f"{'Starting' if is_start else 'Stopping'} profiler...")
    body = b"" if job.version == "2026" else job.body(test)
    done = server.profiler(job.server, f"/{what}_profile", body)
    # old ones wait for tokens in that answer and find none, which only 0.8's chat takes for a success
    if done and (job.version == "2026" or (job.version == "0.8" and job.backend.answer == "chat")):
        console.say(f"Profiler {'started' if is_start else 'stopped'}")


def _measured(
    job: Job,
    models: Sequence[str],
    planned: arrivals.Arrivals,
    test: Sample,
    writer: Writer | None,
    watch: Watch | None,
) -> tuple[Outcome, bool]:
    """The measured run with what goes on beside it, and whether it was interrupted."""
    args = job.args
    families = ("spec_decode", "diffusion") if job.version == "2026" else ()
    before = [server.counters(job.server, family) for family in families]
    check_url(args.backend, job.backend, job.target.url)
    rate = getattr(args, "probe_request_rate", 0.0)
    if rate > 0:
        console.say(f"Probe request rate: {rate} req/s")
    probe = job.body(test._replace(prompt="Hi", output_len=1))
    prober = Prober(job.target, probe, rate, is_stream=not job.backend.is_pooling)
    n = len(job.samples)
    texts = Texts(n)
    keeps_all = results.is_saved(args) and results.has_details(job.profile, args)
    book = Book(job.reader, job.samples, texts=texts, keeps_all=keeps_all)
    bar = console.Bar(n, is_shown=not args.disable_tqdm)
    bar(0)
    began = datetime.now()
    with prober:
        ended = run(
            job.target,
            map(job.body, job.samples, models),
            n,
            book.take,
            planned.times_ns,
            args.max_concurrency or None,
            bar,
            writer,
            watch,
        )
    bar(len(book))
    if job.version != "2026" and args.profile:
        _profiler(job, "stop", test)
    bar.close()
    duration_s = max(ended.end_s, planned.until_s if not ended.interrupted else 0.0)
    after = [server.counters(job.server, family) for family in families]
    found = book.answers(ended.start_mono_s)
    outcome = Outcome(
        metrics=calculate(found, duration_s, job.tokens, percentiles(args), goodput(args), texts),
        answers=found,
        sections=_sections(job),
        is_pooling=job.backend.is_pooling,
        model_id=job.model_id,
        tokenizer_id=job.tokenizer_id,
        has_tokenizer=job.tokens is not None,
        probes=prober.statistics(),
        rate_changes=rate_changes(args, planned, began),
        speculation=server.speculation(before[0], after[0]) if families else None,
        diffusion=server.diffusion(before[1], after[1], duration_s) if families else None,
        goodput_ms=goodput(args),
        texts=texts,
    )
    return outcome, ended.interrupted


def _sections(job: Job) -> list[str]:
    """Metrics that are reported: those asked for, in the table's order."""
    args = job.args
    usual = "e2el" if job.backend.is_pooling else "ttft,tpot,itl"
    is_default = args.percentile_metrics is None or (not args.percentile_metrics and job.version == "2026")
    asked = (usual if is_default else args.percentile_metrics).split(",")
    shown = ["ttft", "tpot", "itl", "e2el"]
    if job.version == "2026":
        if job.backend.is_pooling or job.tokens is None:
            shown = ["e2el"]
        if args.max_concurrency is not None:
            shown.append("client_queue_time")
            if args.request_rate != float("inf"):
                shown.append("e2el_including_client_queue")
    return [name for name in shown if name in asked]


def rate_changes(
    args: argparse.Namespace, planned: arrivals.Arrivals, began: datetime
) -> list[dict[str, Any]]:
    """When a ramp-up passed each whole rate. A trace with its own times has the first one only."""
    if getattr(args, "ramp_up_strategy", None) is None:
        return []
    found = [{"rps": args.ramp_up_start_rps, "timestamp": began.isoformat()}]
    last = args.ramp_up_start_rps
    times_s = planned.times_s.tolist() if planned.rates and planned.times_s is not None else []
    for rate, at_s in zip(planned.rates, times_s, strict=True):
        moment = datetime.fromtimestamp(began.timestamp() + at_s).isoformat()
        found += [{"rps": step, "timestamp": moment} for step in range(last + 1, int(rate) + 1)]
        last = max(last, int(rate))
    return found
