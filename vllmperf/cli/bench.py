"""vllmperf bench: arguments in, a Plan, a run, its table out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import datasets, text_file
from vllmperf.cli.bench_arguments import AS_MANY_AS_IN_FLIGHT, SAMPLING, Help, add_arguments
from vllmperf.errors import UsageError
from vllmperf.plan import Plan

if TYPE_CHECKING:
    from vllmperf.run import Run

NO_CONNECTION = ("refused", "dns_failed", "connect_timeout", "tls_failed")


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "bench",
        help="load a server and measure how fast it serves",
        usage="vllmperf bench [--base-url URL | --sim] [options]",
        description="Send requests to an OpenAI-compatible server; say how fast it answers, and how sure "
        "that is. Flags have the names of vllm bench serve; _ and - are the same in them. In the place of vLLM's "
        "own client, with its requests, output and files: bench --profile vllm-0.6|vllm-0.8|vllm-2026 [its options].",
        formatter_class=Help,
    )
    add_arguments(command)
    command.set_defaults(run=run)


# ---- from arguments to a plan ----


def plan_of(args: argparse.Namespace) -> Plan:
    """The plan that the arguments describe. Raises UsageError."""
    from vllmperf.api import SIMULATED, default_arrival, default_num_prompts

    if args.sim is not None and args.base_url:
        raise UsageError("--sim and --base-url name two servers: give one of them")
    input_len, output_len, prefix_len = lengths(args)
    arrival = args.arrival or default_arrival(args.dataset_name, args.request_rate, args.max_concurrency)
    sampling = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name in SAMPLING}
    return Plan(
        base_url=SIMULATED if args.sim is not None else args.base_url or _url(args.host, args.port),
        model=args.model,
        backend=args.backend,
        endpoint=args.endpoint,
        headers=dict(args.header),
        api_key=_api_key(args),
        insecure=args.insecure,
        cacert=args.cacert,
        request_rate=args.request_rate,
        burstiness=args.burstiness,
        arrival=arrival,
        arrival_file=args.arrival_file,
        max_concurrency=args.max_concurrency,
        num_prompts=default_num_prompts(args.num_prompts, args.duration, arrival),
        num_warmups=args.num_warmups,
        duration_s=args.duration,
        seed=args.seed,
        dataset_name=args.dataset_name,
        dataset_path=args.dataset_path,
        tokenizer=args.tokenizer,
        input_len=input_len,
        output_len=output_len,
        random_range_ratio=args.random_range_ratio,
        prefix_len=prefix_len,
        dataset_options=_dataset_options(args),
        ignore_eos=args.ignore_eos or args.dataset_name == "random",
        stream=not args.no_stream,
        n=args.n,
        logprobs=args.logprobs,
        sampling={name: value for name, value in sampling.items() if value is not None},
        extra_body=args.extra_body,
        text_prompts=args.text_prompts,
        string_content=args.string_content,
        chat_max_tokens=args.chat_max_tokens,
        connect_timeout_s=args.connect_timeout,
        first_token_timeout_s=args.first_token_timeout,
        stall_timeout_s=args.stall_timeout,
        total_timeout_s=args.total_timeout,
        grace_period_s=args.grace_period,
        warm_connections=_warm_connections(args),
        fresh_connections=args.fresh_connections,
        threads=args.threads,
        spin_us=args.spin_us,
        keep_text=args.keep_text or args.save_detailed,
        record_chunks=args.record_chunks,
        request_id_prefix=args.request_id_prefix,
        percentile_metrics=args.percentile_metrics,
        metric_percentiles=args.metric_percentiles,
        goodput=dict(args.goodput),
        metadata=dict(args.metadata),
        label=args.label,
        simulator=_simulator(args.sim),
    )


def lengths(args: argparse.Namespace) -> tuple[int | None, int | None, int | None]:
    """Tokens of prompt, answer and common prefix: the general flag, else that of the data set."""
    name = args.dataset_name
    own = {kind: getattr(args, f"{name}_{kind}_len", None) for kind in ("input", "output", "prefix")}
    if name == "custom" and own["output"] == -1:  # vLLM's word for "as in the file"
        own["output"] = None
    input_len = own["input"] if args.input_len is None else args.input_len
    output_len = own["output"] if args.output_len is None else args.output_len
    return input_len, output_len, own["prefix"]


def _dataset_options(args: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(args, name) for name in datasets.options()}
    return {name: value for name, value in given.items() if value is not None}


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _warm_connections(args: argparse.Namespace) -> int | None:
    if args.warm_connections != AS_MANY_AS_IN_FLIGHT:
        return None if args.warm_connections is None else int(args.warm_connections)
    if args.max_concurrency is None:
        raise UsageError("--warm-connections without a number needs --max-concurrency: give one of them")
    return int(args.max_concurrency)


def _simulator(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    from vllmperf.sim.config import parse_settings

    return parse_settings(text)


def _api_key(args: argparse.Namespace) -> str | None:
    if args.api_key_file is None:
        return args.api_key or os.environ.get("OPENAI_API_KEY") or None
    try:
        key = text_file.read(args.api_key_file).strip()
    except (OSError, text_file.NoTextError) as error:
        raise UsageError(f"--api-key-file {args.api_key_file} cannot be read: {error}") from None
    if not key:
        raise UsageError(f"--api-key-file {args.api_key_file} is empty")
    return key


# ---- the command ----


def run(args: argparse.Namespace) -> int:
    """Make the run, print it, write the files that are asked for."""
    from vllmperf.api import make_run

    plan = plan_of(args)
    _check_output(args)
    if args.ready_check_timeout_sec and plan.simulator is None:
        from vllmperf.target import client_of, wait_ready

        wait_ready(client_of(plan), args.ready_check_timeout_sec)
    made = make_run(plan, args.record, progress=not args.no_progress)
    _put_out(made, args)
    return exit_code(made)


def _check_output(args: argparse.Namespace) -> None:
    """What cannot be written is said before the run, not after it."""
    if args.json == "-" and args.csv == "-":
        raise UsageError("--json and --csv - both want stdout: give --csv a file")
    for flag, path in (("--csv", args.csv), ("--record", args.record)):
        if path and str(path) != "-" and not Path(path).absolute().parent.is_dir():
            raise UsageError(
                f"{flag} {path}: there is no folder {Path(path).absolute().parent}; make it first"
            )
    if args.record and args.record.exists() and (not args.record.is_file() or args.record.stat().st_size):
        raise UsageError(f"--record {args.record} exists already: choose another name or remove it")


def _put_out(made: Run, args: argparse.Namespace) -> None:
    """The table (or JSON) last: it stays in sight, and it is printed even when a file cannot be written."""
    from vllmperf.report.show import show

    try:
        if args.save_result or args.save_detailed:
            from vllmperf.formats.vllm_result import save

            path = save(made, args.result_dir, args.result_filename, detailed=args.save_detailed)
            print(f"vllmperf: wrote {path}", file=sys.stderr)
        if args.csv:
            show(made, csv_to=args.csv)
    finally:
        if args.csv != "-":
            show(made, json_to=args.json)


def exit_code(made: Run) -> int:
    """0 fine, 1 not to be trusted or nothing completed, 3 nobody there, 130 interrupted."""
    if made.recording.state == "interrupted":
        return 130
    requests = made.summary["requests"]
    if requests["completed"]:
        return 1 if made.summary["verdict"]["level"] == "untrusted" else 0
    only_unreachable = requests["outcomes"] and all(name in NO_CONNECTION for name in requests["outcomes"])
    return 3 if only_unreachable else 1
