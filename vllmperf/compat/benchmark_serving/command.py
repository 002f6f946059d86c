"""The command from arguments to exit code, in the order of the original's steps."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from vllmperf.compat.benchmark_serving import (
    align,
    arrivals,
    both,
    console,
    data,
    flags,
    plots,
    results,
    server,
)
from vllmperf.compat.benchmark_serving.answers import Answer, answers
from vllmperf.compat.benchmark_serving.backends import Backend, Common, backend_of, rendered
from vllmperf.compat.benchmark_serving.engine import (
    CONNECT_S,
    LONGEST_S,
    Replies,
    Target,
    Writer,
    run,
)
from vllmperf.compat.benchmark_serving.metrics import GOODPUT, calculate
from vllmperf.compat.benchmark_serving.probe import Prober
from vllmperf.compat.benchmark_serving.profiles import Profile
from vllmperf.compat.benchmark_serving.results import Outcome
from vllmperf.errors import TargetError, UsageError
from vllmperf.load import resolve
from vllmperf.load.datasets.sample import Chance, Sample
from vllmperf.load.datasets.tokens import Tokens
from vllmperf.plan import Plan

INTERRUPTED = 130
RETRY_S = 5.0
SAMPLING = (
    "top_p",
    "top_k",
    "min_p",
    "temperature",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
)
NO_TEMPERATURE = (
    "WARNING: vllm bench serve no longer sets temperature==0 (greedy) in requests by default. The default will be "
    "determined on the server side and can be model/API specific. For the old behavior, include --temperature=0."
)
TEST_FAILED = (
    "Initial test run failed - Please make sure benchmark arguments are correctly specified. Error: "
)


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that is settled before the first request."""

    profile: Profile
    args: argparse.Namespace
    backend: Backend
    target: Target
    server: server.Server
    tokens: Tokens | None
    chance: Chance
    samples: list[Sample]
    common: Common
    model_id: str
    model_name: str
    tokenizer_id: str | None

    @property
    def version(self) -> str:
        return self.profile.version

    @property
    def backend_name(self) -> str:
        return str(self.args.backend)

    def body(self, sample: Sample, model: str | None = None) -> bytes:
        return rendered(self.backend, model or self.model_name, sample, self.common)


def main(words: Sequence[str], default: str = "vllm-0.6") -> int:
    """Run the command with these arguments and give its exit code. Raises VllmperfError."""
    profile, rest = flags.choose(words, default)
    args = flags.parse(profile, rest)
    now = datetime.now()
    # the guides that this is called from cut lines by number: vLLM's own log takes the first one
    data.note(
        f"INFO {now:%m-%d %H:%M:%S} vllmperf.py:1] {profile.program} as in {profile.release}, "
        f"profile {profile.name}"
    )
    console.say(flags.said_back(profile, args))
    _check(profile, args)
    job = _prepared(profile, args)
    return _run(job)


# ---- before the run ----


def _check(profile: Profile, args: argparse.Namespace) -> None:
    """What the originals refuse, before anything is loaded."""
    results.metadata(args)
    if profile.version != "2026":  # 0.33 looks at them after it has asked the server for tokens
        _goodput(args)
    percentiles(args)
    if args.max_concurrency is not None and args.max_concurrency <= 0:
        if args.max_concurrency < 0 or profile.version == "2026":
            raise UsageError("--max-concurrency must be greater than 0")
        data.note("--max-concurrency 0 is no limit in this version")
    if args.num_prompts <= 0 and args.dataset_name != "custom":
        raise UsageError("--num-prompts must be greater than 0")
    if not args.request_rate > 0:
        raise UsageError(f"--request-rate is {args.request_rate:g}: give a number above 0, or inf")
    unknown = [name for name in (args.percentile_metrics or "").split(",") if name and name not in METRICS]
    if unknown:
        data.note(f"--percentile-metrics {unknown[0]}: there is no such metric, it is left out")
    if profile.version == "2026":
        plots.thresholds_ms(args)
        _check_ramp_up(args)


METRICS = ("ttft", "tpot", "itl", "e2el", "client_queue_time", "e2el_including_client_queue")


def _check_ramp_up(args: argparse.Namespace) -> None:
    if args.ramp_up_strategy is None:
        return
    start, end = args.ramp_up_start_rps, args.ramp_up_end_rps
    if args.request_rate != float("inf"):
        raise UsageError("--ramp-up-strategy sets the rate: leave --request-rate out")
    if start is None or end is None:
        raise UsageError("--ramp-up-strategy needs --ramp-up-start-rps and --ramp-up-end-rps")
    if start < 0 or end < 0 or start > end:
        raise UsageError("--ramp-up-start-rps must be 0 or more and not above --ramp-up-end-rps")
    if args.ramp_up_strategy == "exponential" and start == 0:
        raise UsageError("an exponential ramp-up cannot start at 0: give a higher --ramp-up-start-rps")


def _goodput(args: argparse.Namespace) -> dict[str, float]:
    """Objectives in ms by metric."""
    found = {}
    for pair in args.goodput or ():
        name, _, value = pair.partition(":")
        try:
            found[name] = float(value)
        except ValueError:
            raise UsageError(f"--goodput {pair!r}: give METRIC:MILLISECONDS") from None
        if name not in GOODPUT:
            raise UsageError(f"--goodput {pair!r}: the metric must be one of {', '.join(GOODPUT)}")
        if found[name] < 0:
            raise UsageError(f"--goodput {pair!r}: the limit must not be negative")
    return found


def percentiles(args: argparse.Namespace) -> list[float]:
    """Those of --metric-percentiles."""
    try:
        found = [float(text) for text in args.metric_percentiles.split(",")]
    except ValueError:
        raise UsageError(
            f"--metric-percentiles {args.metric_percentiles!r}: give numbers like 50,99"
        ) from None
    if not all(0 <= q <= 100 for q in found):
        raise UsageError(f"--metric-percentiles {args.metric_percentiles}: give numbers from 0 to 100")
    return found


def _prepared(profile: Profile, args: argparse.Namespace) -> Job:
    """Model, tokenizer, samples: what the originals do before they talk of a run."""
    base_url = args.base_url if args.base_url is not None else _base_url(args)
    backend = backend_of(profile, args.backend, base_url + args.endpoint)
    headers = _headers(profile, args, backend)
    plan = _plan(args, base_url, backend, dict(headers))
    asked = server.Server(base_url, plan, dict(_own_headers(args)))
    model_id, model_name = _model(args, asked)
    tokenizer_id = None if getattr(args, "skip_tokenizer_init", False) else args.tokenizer or model_id
    tokens = None if tokenizer_id is None else Tokens(tokenizer_id)
    data.settle(args, profile, backend)
    chance = Chance(args.seed)
    samples = data.samples(args, profile, backend, tokens, chance)
    if profile.version == "2026" and args.dataset_name in ("random", "prefix_repetition"):
        samples = align.aligned(asked, model_id, samples)
    _goodput(args)
    common = Common(
        logprobs=args.logprobs,
        ignore_eos=args.ignore_eos,
        best_of=getattr(args, "best_of", 1),
        extra=_extra(profile, args, backend),
    )
    has_ids = profile.version == "2026" and samples[0].number is not None
    target = Target(
        plan=replace(plan, model=model_name),
        url=base_url + args.endpoint,
        addresses=resolve.usable_addresses(base_url),
        headers=headers,
        is_raw=not backend.is_openai,
        id_prefix=args.request_id_prefix if has_ids else None,
    )
    return Job(
        profile,
        args,
        backend,
        target,
        asked,
        tokens,
        chance,
        samples,
        common,
        model_id,
        model_name,
        tokenizer_id,
    )


def _base_url(args: argparse.Namespace) -> str:
    host = f"[{args.host}]" if ":" in args.host else args.host
    return f"http://{host}:{args.port}"


def _model(args: argparse.Namespace, asked: server.Server) -> tuple[str, str]:
    """(id, name in requests)."""
    if args.model is None:
        console.say("Model not specified, fetching first model from server...")
        name, found = server.first_model(asked)
        console.say(f"First model name: {name}, first model id: {found}")
        return found, name
    served = getattr(args, "served_model_name", None)
    return args.model, served or args.model


def _own_headers(args: argparse.Namespace) -> list[tuple[str, str]]:
    """NAME=VALUE of --header, split at the first =."""
    found = []
    for item in getattr(args, "header", None) or ():
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError("--header: give NAME=VALUE")
        found.append((name.strip(), value.strip()))
    return found


def _headers(profile: Profile, args: argparse.Namespace, backend: Backend) -> list[tuple[str, str]]:
    """In the original's order. Before 2026 it sends `Bearer None` when there is no key."""
    key = os.environ.get("OPENAI_API_KEY")
    found = {"Content-Type": "application/json", "User-Agent": "vllmperf"}
    if (profile.version != "2026" and backend.authorized) or (profile.version == "2026" and key):
        found["Authorization"] = f"Bearer {key}"
    return list({**found, **dict(_own_headers(args))}.items())


def _plan(args: argparse.Namespace, base_url: str, backend: Backend, headers: Mapping[str, str]) -> Plan:
    """The engine's view: the originals' time-outs, no limits of ours."""
    return Plan(
        base_url=base_url,
        backend="openai-chat" if backend.answer == "chat" else "openai",
        endpoint=args.endpoint,
        headers=headers,
        insecure=bool(getattr(args, "insecure", False)),
        request_rate=args.request_rate,
        burstiness=args.burstiness,
        max_concurrency=args.max_concurrency or None,
        num_prompts=max(1, args.num_prompts),
        seed=args.seed,
        tokenizer=args.tokenizer,
        dataset_name="random",
        logprobs=args.logprobs,
        connect_timeout_s=CONNECT_S,
        first_token_timeout_s=LONGEST_S,
        stall_timeout_s=LONGEST_S,
        total_timeout_s=LONGEST_S,
        keep_text=True,
        label=getattr(args, "label", None),
        metadata=results.metadata(args),
    )


def _extra(profile: Profile, args: argparse.Namespace, backend: Backend) -> dict[str, Any]:
    """Sampling parameters, then --extra-body."""
    if profile.version == "0.6":
        return {}
    given = {name: getattr(args, name, None) for name in SAMPLING}
    sampling = {name: value for name, value in given.items() if value is not None}
    if sampling and not backend.is_openai and not backend.is_pooling:
        raise UsageError("sampling parameters need a backend of the OpenAI API: leave them out")
    if profile.version == "0.8":
        return {**sampling, "temperature": sampling.get("temperature", 0.0)}
    if backend.is_pooling:
        sampling = {}
    elif "temperature" not in sampling:
        console.say(NO_TEMPERATURE)
    return {**sampling, **(args.extra_body or {})}


# ---- the run ----


def _run(job: Job) -> int:
    console.say("Starting initial single prompt test run...")
    test = job.samples[0]
    if job.version == "2026":
        _ready_check(job, test)
        _warm_up(job, test)
        console.say("Starting main benchmark run...")
    else:
        answer = _asked(job, [test])[0]
        if not answer.success:
            raise TargetError(TEST_FAILED + answer.error)
        console.say("Initial test run completed. Starting main benchmark run...")
    models = _models(job)
    if job.args.profile:
        _profiler(job, "start", test)
    for line in console.traffic(job.profile, job.args):
        console.say(line)
    planned = _arrivals(job)
    with both.recorded(job.args, job.target.plan, job.backend_name, len(job.samples)) as record:
        outcome, replies = _measured(job, models, planned, test, record.writer)
        for line in console.report(job.profile, job.args, outcome):
            console.say(line)
        if job.args.both:
            for line in record.beside(results.result(job.profile, job.args, outcome, ""), job.profile):
                console.say(line)
    if job.version == "2026" and job.args.profile:
        _profiler(job, "stop", test)
    _written(job, outcome)
    return INTERRUPTED if replies.interrupted else 0


def _written(job: Job, outcome: Outcome) -> None:
    date = datetime.now().strftime("%Y%m%d-%H%M%S")
    results.save(job.profile, job.args, outcome, date)
    if job.version == "2026":
        plots.save(job.args, outcome, results.path_of(job.profile, job.args, job.model_id, date))


def _asked(job: Job, samples: Sequence[Sample], progress: console.Bar | None = None) -> list[Answer]:
    """Answers to requests beside the measured ones."""
    bodies = [job.body(sample) for sample in samples]
    limit = job.args.max_concurrency or None
    replies = run(job.target.without_ids(), bodies, None, limit, progress)
    if replies.interrupted:
        raise KeyboardInterrupt
    return answers(job.profile, job.backend, samples, replies, ignore_eos=job.common.ignore_eos)


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
            raise TargetError(TEST_FAILED + answer.error)
        time.sleep(min(RETRY_S, left_s))
        if time.monotonic() >= deadline_s:
            raise TargetError(TEST_FAILED + answer.error)
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
    if done and job.version != "0.8":  # 0.8 waits for tokens in that answer and finds none
        console.say(f"Profiler {'started' if is_start else 'stopped'}")


def _measured(
    job: Job, models: Sequence[str], planned: arrivals.Arrivals, test: Sample, writer: Writer | None
) -> tuple[Outcome, Replies]:
    """The measured run with what goes on beside it."""
    args = job.args
    families = ("spec_decode", "diffusion") if job.version == "2026" else ()
    before = [server.counters(job.server, family) for family in families]
    rate = getattr(args, "probe_request_rate", 0.0)
    if rate > 0:
        console.say(f"Probe request rate: {rate} req/s")
    prober = Prober(job.target, job.body(replace(test, prompt="Hi", output_len=1)), rate)
    bodies = [job.body(sample, model) for sample, model in zip(job.samples, models, strict=True)]
    bar = console.Bar(len(bodies), is_shown=not args.disable_tqdm)
    bar(0)
    began = datetime.now()
    with prober:
        replies = run(job.target, bodies, planned.times_ns, args.max_concurrency or None, bar, writer)
    bar(sum(reply is not None for reply in replies.replies))
    if job.version != "2026" and args.profile:
        _profiler(job, "stop", test)
    bar.close()
    duration_s = max(
        replies.end_s, planned.until_s if not replies.interrupted else 0.0, prober.end_s(replies)
    )
    after = [server.counters(job.server, family) for family in families]
    found = answers(job.profile, job.backend, job.samples, replies, ignore_eos=job.common.ignore_eos)
    outcome = Outcome(
        metrics=calculate(found, duration_s, job.tokens, percentiles(args), _goodput(args)),
        answers=found,
        sections=_sections(job),
        is_pooling=job.backend.is_pooling,
        model_id=job.model_id,
        tokenizer_id=job.tokenizer_id,
        has_tokenizer=job.tokens is not None,
        probes=prober.statistics(),
        rate_changes=_rate_changes(args, planned, began),
        speculation=server.speculation(before[0], after[0]) if families else None,
        diffusion=server.diffusion(before[1], after[1], duration_s) if families else None,
        goodput_ms=_goodput(args),
    )
    return outcome, replies


def _sections(job: Job) -> list[str]:
    """Metrics that are reported: those asked for, in the table's order."""
    args = job.args
    usual = "e2el" if job.backend.is_pooling else "ttft,tpot,itl"
    asked = (args.percentile_metrics or usual).split(",")
    shown = ["ttft", "tpot", "itl", "e2el"]
    if job.version == "2026":
        if job.backend.is_pooling or job.tokens is None:
            shown = ["e2el"]
        if args.max_concurrency is not None:
            shown.append("client_queue_time")
            if args.request_rate != float("inf"):
                shown.append("e2el_including_client_queue")
    return [name for name in shown if name in asked]


def _rate_changes(
    args: argparse.Namespace, planned: arrivals.Arrivals, began: datetime
) -> list[dict[str, Any]]:
    """When a ramp-up passed each whole rate."""
    if not planned.rates or planned.times_s is None:
        return []
    found = [{"rps": args.ramp_up_start_rps, "timestamp": began.isoformat()}]
    last = args.ramp_up_start_rps
    for rate, at_s in zip(planned.rates, planned.times_s.tolist(), strict=True):
        moment = datetime.fromtimestamp(began.timestamp() + at_s).isoformat()
        found += [{"rps": step, "timestamp": moment} for step in range(last + 1, int(rate) + 1)]
        last = max(last, int(rate))
    return found
