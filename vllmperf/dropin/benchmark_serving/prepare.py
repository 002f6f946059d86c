"""What is settled before the first request: what is refused, where to, which samples, which bodies."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.datasets.chance import Chance
from vllmperf.datasets.dataset import Sample
from vllmperf.dropin import own_words
from vllmperf.dropin.benchmark_serving import align, console, data, plots, results, server
from vllmperf.dropin.benchmark_serving.answers import Version
from vllmperf.dropin.benchmark_serving.backends import TABLE, Backend, Common, rendered
from vllmperf.dropin.benchmark_serving.engine import CONNECT_S, LONGEST_S, Target
from vllmperf.dropin.benchmark_serving.metrics import GOODPUT
from vllmperf.dropin.benchmark_serving.profiles import Profile
from vllmperf.errors import UsageError
from vllmperf.loadgen import resolve
from vllmperf.loadgen.notes import Notes
from vllmperf.loadgen.task import Task
from vllmperf.plan import Credentials, Knobs, Plan
from vllmperf.target import Client
from vllmperf.tokenizer.tokens import Tokens

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


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that is settled before the first request."""

    profile: Profile
    args: argparse.Namespace
    backend: Backend
    target: Target
    server: Client
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

    @property
    def reader(self) -> Version:
        return Version(self.profile, self.backend, self.common.ignore_eos)

    @property
    def asked(self) -> Mapping[str, Any]:
        """The plan for hints."""
        return {
            **self.target.task.described(),
            "url": self.target.url,  # the originals double a version
            "authorized": "OPENAI_API_KEY" in os.environ,
            "tokenizer": self.tokenizer_id,
        }

    def body(self, sample: Sample, model: str | None = None) -> bytes:
        return rendered(self.backend, model or self.model_name, sample, self.common)


def check(profile: Profile, args: argparse.Namespace) -> None:
    """What the originals refuse, before anything is loaded."""
    results.metadata(profile, args)
    if profile.version != "2026":  # 0.33 looks at them after it has asked the server for tokens
        goodput(args)
    percentiles(args)
    if profile.version == "2026":
        _refuse_bytes(args.extra_body or {})
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


def goodput(args: argparse.Namespace) -> dict[str, float]:
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


def prepared(profile: Profile, args: argparse.Namespace) -> Job:
    """Model, tokenizer, samples: what the originals do before they talk of a run."""
    base_url = args.base_url if args.base_url is not None else host_url(args)
    backend = TABLE[profile.version][args.backend]
    headers = _headers(profile, args, backend)
    task = _task(profile, args, base_url, dict(headers))
    asked = Client(
        base_url,
        headers=_question_headers(args),
        cacert=task.plan.target.cacert,
        insecure=task.plan.target.insecure,
        follow=True,
    )
    model_id, model_name = _model(args, asked)
    tokenizer_id = None if getattr(args, "skip_tokenizer_init", False) else args.tokenizer or model_id
    tokens = None if tokenizer_id is None else _tokens(tokenizer_id, profile)
    data.settle(args, profile, backend)
    chance = Chance(args.seed)
    samples = data.samples(args, profile, tokens, chance)
    if profile.version == "2026" and args.dataset_name in ("random", "prefix_repetition"):
        samples = align.aligned(asked, model_id, samples)
    goodput(args)
    common = Common(
        logprobs=args.logprobs,
        ignore_eos=args.ignore_eos,
        best_of=getattr(args, "best_of", 1),
        extra=_extra(profile, args, backend),
    )
    has_ids = profile.version == "2026" and samples[0].number is not None
    target = Target(
        task=task.replace(model=model_name),
        url=base_url + args.endpoint,
        addresses=resolve.usable_addresses(base_url),
        headers=headers,
        is_raw=not backend.is_openai,
        id_prefix=args.request_id_prefix if has_ids else None,
        keeps_connections=profile.keeps_connections,
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


def _tokens(tokenizer_id: str, profile: Profile) -> Tokens:
    is_5 = profile.version == "2026"  # of transformers
    return Tokens(tokenizer_id, cleans_bpe=not is_5, is_renewed=is_5)


def host_url(args: argparse.Namespace) -> str:
    """Of --host and --port."""
    host = f"[{args.host}]" if ":" in args.host else args.host
    return f"http://{host}:{args.port}"


def _model(args: argparse.Namespace, asked: Client) -> tuple[str, str]:
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


def _question_headers(args: argparse.Namespace) -> dict[str, str]:
    """Of small questions. The original leaves its key out of them, and then cannot ask a server that wants one."""
    key = os.environ.get("OPENAI_API_KEY")
    return {**({"Authorization": f"Bearer {key}"} if key else {}), **dict(_own_headers(args))}


def _headers(profile: Profile, args: argparse.Namespace, backend: Backend) -> list[tuple[str, str]]:
    """In the original's order. Before 2026 it sends `Bearer None` when there is no key."""
    key = os.environ.get("OPENAI_API_KEY")
    found = {"Content-Type": "application/json", "User-Agent": "vllmperf"}
    if (profile.version != "2026" and backend.authorized) or (profile.version == "2026" and key):
        found["Authorization"] = f"Bearer {key}"
    return list({**found, **dict(_own_headers(args))}.items())


def _task(profile: Profile, args: argparse.Namespace, base_url: str, headers: Mapping[str, str]) -> Task:
    settings = {
        "request_rate": args.request_rate,
        "insecure": bool(getattr(args, "insecure", False)),
        "burstiness": 1.0 if args.request_rate == float("inf") else args.burstiness,
        "logprobs": args.logprobs,
    }
    notes = Notes(label=getattr(args, "label", None), metadata=results.metadata(profile, args))
    return task_of(args, base_url, args.endpoint, headers, notes, **settings)


def task_of(
    args: argparse.Namespace,
    base_url: str,
    endpoint: str,
    headers: Mapping[str, str],
    notes: Notes | None = None,
    **settings: Any,
) -> Task:
    """The engine's view of a client's flags: the originals' time-outs, no limits of ours. settings: more of the plan."""
    plain, secret = Credentials.apart(headers)
    plan = Plan.of(
        base_url=base_url,
        backend="openai-chat" if endpoint.endswith("/chat/completions") else "openai",
        endpoint=endpoint,
        headers=plain,
        cacert=own_words.bundle(own_words.OPENSSL_BUNDLE, base_url),
        max_concurrency=args.max_concurrency or None,
        num_prompts=max(1, args.num_prompts),
        seed=args.seed,
        tokenizer=args.tokenizer,
        ignore_eos=False,
        connect_timeout=CONNECT_S,
        first_token_timeout=LONGEST_S,
        stall_timeout=LONGEST_S,
        total_timeout=LONGEST_S,
        **settings,
    )
    return Task(plan, Credentials(headers=secret), Knobs(keep_text=True), notes or Notes())


def _refuse_bytes(extra: Mapping[str, Any]) -> None:
    """An embedding as bytes: its tokens stand in a header of the answer, which is not kept."""
    if str(extra.get("encoding_format")).startswith("bytes"):
        raise UsageError(
            f"encoding_format {extra['encoding_format']} in --extra-body is not supported: use float or base64"
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
