"""vllmperf bench: arguments in, a Plan, a run, its table out."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.errors import UsageError
from vllmperf.plan import ARRIVALS, BACKENDS, DATASETS, GOODPUT_METRICS, METRICS, Plan

if TYPE_CHECKING:
    from vllmperf.report.run import Run

SAMPLING = (
    "temperature",
    "top-p",
    "top-k",
    "min-p",
    "frequency-penalty",
    "presence-penalty",
    "repetition-penalty",
)
NO_CONNECTION = ("refused", "dns_failed", "connect_timeout", "tls_failed")
UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


# ---- values ----


def duration(text: str) -> float:
    """Seconds: 30, 30s, 1.5m, 1h30m."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 30, 30s, 10m or 1h30m")
    return sum(float(number) * UNITS_S[unit] for number, unit in parts)


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE"""
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value.strip()


def goal(text: str) -> tuple[str, float]:
    """METRIC:MS"""
    name, mark, value = text.partition(":")
    try:
        if not mark:
            raise ValueError
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not METRIC:MS, like ttft:200") from None


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """50,90,99"""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers like 50,90,99") from None


def names(text: str) -> tuple[str, ...]:
    """ttft,tpot"""
    return tuple(part.strip() for part in text.split(",") if part.strip())


# ---- arguments ----


def add(subparsers: Any) -> None:
    """The arguments, under the names of `vllm bench serve` where it has them."""
    command = subparsers.add_parser(
        "bench",
        help="load a server and measure how fast it serves",
        description="Send requests to an OpenAI-compatible server and report latency, throughput and our own error.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_target(command.add_argument_group("target"))
    _add_load(command.add_argument_group("load"))
    _add_data(command.add_argument_group("data"))
    _add_limits(command.add_argument_group("limits (seconds, or 500ms, 30s, 10m, 1h)"))
    _add_output(command.add_argument_group("output"))
    _add_engine(command.add_argument_group("engine"))


def _add_target(group: Any) -> None:
    option = group.add_argument
    option("--base-url", metavar="URL", help="like http://HOST:PORT; else made of --host and --port")
    option("--host", default="127.0.0.1", help="server's host")
    option("--port", type=int, default=8000, help="server's port")
    option("--backend", default="openai", choices=tuple(BACKENDS), help="kind of request")
    option("--endpoint", metavar="PATH", help="path of the requests (default: the backend's)")
    option("--model", help="name sent in the requests (default: first of /v1/models)")
    option("--header", type=pair, action="append", default=[], metavar="NAME=VALUE", help="extra header, repeatable")
    option("--api-key", help="bearer token (default: $OPENAI_API_KEY); never written anywhere")
    option("--api-key-file", type=Path, metavar="FILE", help="file that holds the bearer token")
    option("--insecure", action="store_true", help="accept any TLS certificate")
    option("--cacert", metavar="FILE", help="PEM file of trusted certificates")
    option("--ready-check-timeout-sec", type=duration, default=0.0, help="wait this long for the server to answer")
    option(
        "--sim",
        nargs="?",
        const="",
        metavar="K=V,…",
        help="run the simulated server inside, like ttft_ms=50,itl_ms=10 (see vllmperf sim --help)",
    )


def _add_load(group: Any) -> None:
    option = group.add_argument
    option("--request-rate", type=float, default=math.inf, help="requests per second; inf = as fast as possible")
    option("--max-concurrency", type=int, help="requests in flight at most")
    option("--num-prompts", type=int, help="requests in all (default: 1000, or no limit with --duration)")
    option("--duration", type=duration, help="stop sending after it")
    option("--arrival", choices=ARRIVALS, help="how requests are spread (default: gamma with --burstiness)")
    option("--burstiness", type=float, default=1.0, help="shape of the gamma gaps: 1 = Poisson, below 1 = bursts")
    option("--arrival-file", metavar="FILE", help="times in seconds for --arrival trace")
    option("--seed", type=int, default=0, help="of prompts and arrivals")


def _add_data(group: Any) -> None:
    option = group.add_argument
    option("--dataset-name", default="random", choices=DATASETS, help="where prompts come from")
    option("--dataset-path", metavar="FILE", help="file of the data set")
    option("--tokenizer", metavar="DIR", help="model folder; without one, random sends token ids (chat: words)")
    option("--input-len", "--random-input-len", "--sonnet-input-len", type=int, help="tokens of a prompt")
    option(
        "--output-len",
        "--random-output-len",
        "--sharegpt-output-len",
        "--sonnet-output-len",
        "--custom-output-len",
        type=int,
        help="tokens of an answer",
    )
    option("--random-range-ratio", type=float, default=0.0, help="lengths within (1 ± ratio) of what is asked")
    option("--random-prefix-len", "--sonnet-prefix-len", dest="prefix_len", type=int, help="tokens of a common prefix")
    option("--ignore-eos", action="store_true", help="answers of full length (always so with random)")
    option("--no-stream", action="store_true", help="ask for the whole answer at once: no TTFT, no ITL")
    option("--n", type=int, default=1, help="choices per request")
    option("--logprobs", type=int, help="logprobs per token")
    for name in SAMPLING:
        option(f"--{name}", type=float, help="sampling parameter, sent as given")
    option("--extra-body", type=json_object, default={}, metavar="JSON", help="fields that go into every body")
    option("--request-id-prefix", default="vllmperf-", help="x-request-id is this and the request's number")


def _add_limits(group: Any) -> None:
    option = group.add_argument
    option("--connect-timeout", type=duration, default=10.0, help="for a connection to stand")
    option("--first-token-timeout", type=duration, default=300.0, help="from sending to the first token")
    option("--stall-timeout", type=duration, default=30.0, help="without an event after the first token")
    option("--total-timeout", type=duration, default=3600.0, help="for one request")
    option("--grace-period", type=duration, default=30.0, help="for what is in flight when sending stops")


def _add_output(group: Any) -> None:
    option = group.add_argument
    option("--record", type=Path, metavar="FILE", help="keep the run file (vllmperf report FILE shows it again)")
    option("--json", action="store_true", help="print the summary as JSON instead of the table")
    option("--csv", type=Path, metavar="FILE", help="write one row a request")
    option("--percentile-metrics", type=names, metavar="NAMES", help=f"rows of the table, of {','.join(METRICS)}")
    option("--metric-percentiles", type=numbers, metavar="NUMBERS", help="columns of the table (default: 50,90,99)")
    option("--goodput", type=goal, nargs="+", default=[], metavar="METRIC:MS", help=f"{', '.join(GOODPUT_METRICS)}")
    option("--save-result", action="store_true", help="write a result JSON with the keys of vllm bench serve")
    option("--save-detailed", action="store_true", help="with one entry a request in it")
    option("--result-dir", type=Path, help="folder of the result JSON")
    option("--result-filename", help="its name (default: made of the settings and the time)")
    option("--metadata", type=pair, nargs="*", default=[], metavar="K=V", help="kept with the run")
    option("--label", help="name of this run, kept with it")
    option("--no-progress", "--disable-tqdm", action="store_true", help="no live figures on stderr")


def _add_engine(group: Any) -> None:
    option = group.add_argument
    option(
        "--warm-connections",
        type=int,
        nargs="?",
        const=-1,
        default=0,
        metavar="N",
        help="open connections before the start (default N: --max-concurrency)",
    )
    option("--threads", type=int, default=0, help="engine threads, 0 = chosen")
    option("--spin-us", type=float, default=200.0, help="spin this long before a send instead of sleeping")
    option("--keep-text", action="store_true", help="keep the answers' text in the run file")
    option("--record-chunks", action="store_true", help="keep both stamps of every chunk in the run file")


# ---- from arguments to a plan ----


def plan_of(args: argparse.Namespace) -> Plan:
    """The plan that the arguments describe. Raises UsageError."""
    from vllmperf.api import SIMULATED

    backend = args.backend
    warm = args.warm_connections
    num_prompts = args.num_prompts if args.num_prompts is not None or args.duration is not None else 1000
    sampling = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name in SAMPLING}
    return Plan(
        base_url=SIMULATED if args.sim is not None else args.base_url or _url(args.host, args.port),
        model=args.model,
        backend=backend,
        endpoint=args.endpoint,
        headers=dict(args.header),
        api_key=_api_key(args),
        insecure=args.insecure,
        cacert=args.cacert,
        request_rate=args.request_rate,
        burstiness=args.burstiness,
        arrival=args.arrival,
        arrival_file=args.arrival_file,
        max_concurrency=args.max_concurrency,
        num_prompts=num_prompts,
        duration_s=args.duration,
        seed=args.seed,
        dataset_name=args.dataset_name,
        dataset_path=args.dataset_path,
        tokenizer=args.tokenizer,
        input_len=args.input_len,
        output_len=args.output_len,
        random_range_ratio=args.random_range_ratio,
        prefix_len=args.prefix_len,
        ignore_eos=args.ignore_eos or args.dataset_name == "random",
        stream=not args.no_stream,
        n=args.n,
        logprobs=args.logprobs,
        sampling={name: value for name, value in sampling.items() if value is not None},
        extra_body=args.extra_body,
        connect_timeout_s=args.connect_timeout,
        first_token_timeout_s=args.first_token_timeout,
        stall_timeout_s=args.stall_timeout,
        total_timeout_s=args.total_timeout,
        grace_period_s=args.grace_period,
        warm_connections=(args.max_concurrency or 0) if warm < 0 else warm,
        threads=args.threads,
        spin_us=args.spin_us,
        keep_text=args.keep_text or args.save_detailed,
        record_chunks=args.record_chunks,
        request_id_prefix=args.request_id_prefix,
        percentile_metrics=tuple(args.percentile_metrics or ()),
        metric_percentiles=tuple(args.metric_percentiles or ()),
        goodput=dict(args.goodput),
        metadata=dict(args.metadata),
        label=args.label,
        simulator=_simulator(args.sim),
    )


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _simulator(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    from vllmperf.sim.config import parse_settings

    return parse_settings(text)


def _api_key(args: argparse.Namespace) -> str | None:
    if args.api_key_file is None:
        return args.api_key or os.environ.get("OPENAI_API_KEY") or None
    try:
        return str(args.api_key_file.read_text()).strip() or None
    except OSError as error:
        raise UsageError(f"--api-key-file {args.api_key_file}: {error.strerror}") from None


# ---- the command ----


def run(args: argparse.Namespace) -> int:
    """Make the run and print it."""
    from vllmperf.api import make_run
    from vllmperf.report.show import show

    plan = plan_of(args)
    if args.ready_check_timeout_sec and plan.simulator is None:
        from vllmperf.load.ask import wait_ready

        wait_ready(plan, args.ready_check_timeout_sec)
    made = make_run(plan, args.record, progress=not args.no_progress)
    if args.save_result or args.save_detailed:
        from vllmperf.formats.vllm_result import save

        path = save(made, args.result_dir, args.result_filename, detailed=args.save_detailed)
        print(f"result: {path}", file=sys.stderr)
    if args.csv:
        show(made.path, csv_to=str(args.csv))
    show(made.path, args.json, None, None, args.percentile_metrics, args.metric_percentiles)
    return exit_code(made)


def exit_code(made: Run) -> int:
    """0 fine, 1 not to be trusted or nothing completed, 3 nobody there, 130 interrupted."""
    if made.recording.state == "interrupted":
        return 130
    requests = made.summary["requests"]
    if requests["completed"]:
        return 1 if made.summary["verdict"]["level"] == "untrusted" else 0
    only_unreachable = requests["outcomes"] and all(name in NO_CONNECTION for name in requests["outcomes"])
    return 3 if only_unreachable else 1
