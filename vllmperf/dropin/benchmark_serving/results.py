"""The result object of each version: keys, order and types as in its file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllmperf.dropin.benchmark_serving.answers import Answer
from vllmperf.dropin.benchmark_serving.metrics import Metrics
from vllmperf.dropin.benchmark_serving.profiles import Profile
from vllmperf.errors import UsageError
from vllmperf.formats import vllm_file
from vllmperf.formats.vllm_table import percentile_word

MANY = (
    "input_lens",
    "output_lens",
    "ttfts",
    "itls",
    "start_times",
    "generated_texts",
    "errors",
    "server_queue_times",
    "server_ttfts",
)
"""One entry a request: left out unless --save-detailed (0.6 has them always)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a run gave. sections: metrics that are reported, in order."""

    metrics: Metrics
    answers: Sequence[Answer]
    sections: Sequence[str]
    is_pooling: bool = False
    model_id: str = ""
    tokenizer_id: str | None = None
    has_tokenizer: bool = True
    probes: Mapping[str, Any] | None = None
    rate_changes: Sequence[Mapping[str, Any]] = ()
    speculation: Mapping[str, Any] | None = None
    diffusion: Mapping[str, Any] | None = None
    goodput_ms: Mapping[str, float] = field(default_factory=dict)
    texts: Sequence[str] = ()


def result(profile: Profile, args: argparse.Namespace, outcome: Outcome, date: str) -> dict[str, Any]:
    """The object that --save-result writes."""
    found = {**_settings(profile, args, outcome, date), **_measured(profile, outcome), **_statistics(outcome)}
    if not has_details(profile, args):
        return {name: value for name, value in found.items() if name not in MANY}
    if "itls" in found:
        found["itls"] = [gaps_s.tolist() for gaps_s in found["itls"]]
        found["generated_texts"] = list(found["generated_texts"])
    return found


def has_details(profile: Profile, args: argparse.Namespace) -> bool:
    """The file has one entry a request, its text included."""
    return profile.version == "0.6" or bool(args.save_detailed)


def is_saved(args: argparse.Namespace) -> bool:
    """A file is asked for."""
    return bool(args.save_result or getattr(args, "append_result", False))


def save(profile: Profile, args: argparse.Namespace, outcome: Outcome, date: str) -> Path | None:
    """Write what is asked for and give the path. Raises UsageError when it cannot be written."""
    if not is_saved(args):
        return None
    found = result(profile, args, outcome, date)
    path = path_of(profile, args, outcome.model_id, date)
    vllm_file.write(path, found, append=bool(getattr(args, "append_result", False)))
    if profile.version != "0.6":
        vllm_file.write_pytorch(path, _arguments(profile, args), found, has_compile=profile.version == "2026")
    return path


def _arguments(profile: Profile, args: argparse.Namespace) -> dict[str, Any]:
    """The arguments as the PyTorch file shows them."""
    found = {name: value for name, value in vars(args).items() if name not in ("both", "record")}
    if profile.version != "2026":
        return found
    if args.header:
        found["header"] = "***"
    return {
        "subparser": "bench",
        "bench_type": "serve",
        "dispatch_function": "<function is not JSON serializable>",
        **found,
        "log_config_file": None,
        "logging_config": "<LoggingConfig is not JSON serializable>",
    }


def path_of(profile: Profile, args: argparse.Namespace, model_id: str, date: str) -> Path:
    """Where the result goes."""
    start = str(getattr(args, "label", None) or args.backend)
    ramp_up = None
    if profile.version == "2026" and args.ramp_up_strategy is not None:
        ramp_up = f"ramp-up-{args.ramp_up_strategy}-{args.ramp_up_start_rps}qps-{args.ramp_up_end_rps}qps"
    name = vllm_file.file_name(start, args.request_rate, args.max_concurrency, model_id, date, ramp_up)
    return Path(args.result_dir or "") / (args.result_filename or name.replace("/", "_"))


def _settings(profile: Profile, args: argparse.Namespace, outcome: Outcome, date: str) -> dict[str, Any]:
    found: dict[str, Any] = {"date": date}
    if profile.version == "2026":
        found |= {"endpoint_type": args.backend, "backend": args.backend, "label": args.label}
    else:
        found |= {"backend": args.backend}
    found |= {"model_id": outcome.model_id, "tokenizer_id": outcome.tokenizer_id}
    if profile.version == "0.6":
        found |= {"best_of": args.best_of}
    found |= {"num_prompts": args.num_prompts, **metadata(profile, args)}
    rate = args.request_rate if args.request_rate < float("inf") else "inf"
    found |= {"request_rate": rate, "burstiness": args.burstiness, "max_concurrency": args.max_concurrency}
    if profile.version == "2026" and args.ramp_up_strategy is not None:
        found |= {
            name: getattr(args, name) for name in ("ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps")
        }
    return found


def metadata(profile: Profile, args: argparse.Namespace) -> dict[str, str]:
    """KEY=VALUE of --metadata; old versions drop what follows another =. Raises UsageError for others."""
    pairs = {}
    for item in args.metadata or ():
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--metadata {item!r}: give KEY=VALUE")
        kept = value if profile.version == "2026" else value.partition("=")[0]
        pairs[name.strip()] = kept.strip()
    return pairs


# ---- what was measured ----


def _measured(profile: Profile, outcome: Outcome) -> dict[str, Any]:
    if outcome.is_pooling:
        return _pooling(outcome)
    metrics, answers = outcome.metrics, outcome.answers
    found: dict[str, Any] = {"duration": metrics.duration_s, "completed": metrics.completed}
    if profile.knows_failed:
        found["failed"] = metrics.failed
    goodput = metrics.per_s(metrics.good) if outcome.goodput_ms else None
    found |= {
        "total_input_tokens": metrics.total_input,
        "total_output_tokens": metrics.total_output,
        "request_throughput": metrics.per_s(metrics.completed),
        "request_goodput" if profile.version == "2026" else "request_goodput:": goodput,
        "output_throughput": metrics.per_s(metrics.total_output),
        "total_token_throughput": metrics.per_s(metrics.total_input + metrics.total_output),
        "input_lens": [answer.prompt_len for answer in answers],
        "output_lens": metrics.output_lens,
        "ttfts": [answer.ttft_s for answer in answers],
        "itls": [answer.itl_s for answer in answers],
    }
    newer = {
        "latencies": [answer.latency_s for answer in answers],
        "start_times": [answer.start_s for answer in answers],
        "queue_times": [answer.queue_s for answer in answers],
    }
    texts = {
        "generated_texts": outcome.texts,
        "errors": [answer.error for answer in answers],
    }
    return {**found, **texts} if profile.version != "2026" else {**found, **newer, **texts, **_more(outcome)}


def _more(outcome: Outcome) -> dict[str, Any]:
    """What 0.33 adds."""
    found: dict[str, Any] = {
        "max_output_tokens_per_s": outcome.metrics.peak_tokens_per_s,
        "max_concurrent_requests": outcome.metrics.peak_concurrent,
        "rtfx": 0.0,
    }
    answers = outcome.answers
    if any(answer.server_queue_ms is not None or answer.server_ttft_ms is not None for answer in answers):
        found["server_queue_times"] = [_seconds(answer.server_queue_ms) for answer in answers]
        found["server_ttfts"] = [_seconds(answer.server_ttft_ms) for answer in answers]
    return found | _beside(outcome)


def _beside(outcome: Outcome) -> dict[str, Any]:
    """What 0.33 says of the run as a whole, whatever the backend."""
    found: dict[str, Any] = dict(outcome.probes or {})
    if outcome.rate_changes:
        found["rps_change_events"] = list(outcome.rate_changes)
    if outcome.speculation:
        names = ("acceptance_rate", "acceptance_length", "num_drafts", "draft_tokens", "accepted_tokens")
        found |= {f"spec_decode_{name}": outcome.speculation[name] for name in names}
        found["spec_decode_per_position_acceptance_rates"] = outcome.speculation[
            "per_position_acceptance_rates"
        ]
    found |= {f"diffusion_{name}": value for name, value in (outcome.diffusion or {}).items()}
    return found


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


def _pooling(outcome: Outcome) -> dict[str, Any]:
    metrics, answers = outcome.metrics, outcome.answers
    return {
        "duration": metrics.duration_s,
        "completed": metrics.completed,
        "total_input_tokens": metrics.total_input,
        "total_input_sequences": metrics.sequences,
        "request_throughput": metrics.per_s(metrics.completed),
        "input_sequence_throughput": metrics.per_s(metrics.sequences),
        "total_token_throughput": metrics.per_s(metrics.total_input),
        "input_lens": [answer.prompt_len for answer in answers],
        "latencies": [answer.latency_s for answer in answers],
        "queue_times": [answer.queue_s for answer in answers],
        "errors": [answer.error for answer in answers],
        **_beside(outcome),
    }


def _statistics(outcome: Outcome) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in outcome.sections:
        row = outcome.metrics.statistics[name]
        found |= {f"mean_{name}_ms": row.mean, f"median_{name}_ms": row.median, f"std_{name}_ms": row.std}
        found |= {f"p{percentile_word(q)}_{name}_ms": value for q, value in row.percentiles}
    return found
