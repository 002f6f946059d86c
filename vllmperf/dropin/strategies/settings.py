"""The entries of DEFAULT_CONFIG, every one a flag too."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vllmperf.dropin.benchmark_serving.flags import BOOLEAN, ONE_OR_MORE, Flag, boolean
from vllmperf.dropin.benchmark_serving.flags import add_flags as add
from vllmperf.dropin.sglang.flags import DATA
from vllmperf.errors import UsageError
from vllmperf.parser import Parser
from vllmperf.sweeps.setups.ray_paths import DATA_PATHS

RAY, SIMULATOR = "ray", "simulator"

FLAGS = (
    Flag("host", "127.0.0.1"),
    Flag("router-port", 0, int),
    Flag("metrics-port", 0, int),
    Flag("metrics-url"),
    Flag("scheduler-strategies-dict", {"pow_of_2": "pow2", "prefix_aware": "prefix_aware"}, ONE_OR_MORE),
    Flag("server-command", RAY),
    Flag("serve-config"),
    Flag("ray-ip", "127.0.0.2"),
    Flag("ray-arguments"),
    Flag("data-path", choices=tuple(DATA_PATHS)),
    Flag("ready-timeout", 1800.0, float),
    Flag("imbalanced-threshold", 10.0, float),
    Flag("match-rate-threshold", 0.1, float),
    Flag("model-name", "Qwen/Qwen2.5-1.5B-Instruct"),
    Flag("tokenizer"),
    Flag("gpu-type", "L4"),
    Flag("num-servers", 4, int),
    Flag("enable-prefix-caching", True, BOOLEAN),
    Flag("enable-chunked-prefill", True, BOOLEAN),
    Flag("benchmark-label", "vllmperf"),
    Flag("dataset-name", "sharegpt", choices=DATA),
    Flag("dataset-link"),
    Flag("max-concurrency", 40, int),
    Flag("min-output-len", 10, int),
    Flag("max-output-len", 200, int),
    Flag("with-warmup", False, BOOLEAN),
    Flag("disable-ignore-eos", False, BOOLEAN),
    Flag("disable-stream", False, BOOLEAN),
    Flag("request-rate", 100.0, float),
    Flag("gen-num-prefixes", 64, int),
    Flag("gen-suffixes-per-prefix", 16, int),
    Flag("gen-prefix-len", 2048, int),
    Flag("gen-suffix-len", 128, int),
    Flag("num-prompts", 1000, int),
    Flag("max-conversations", 10000, int),
    Flag("min-prompt-len", None, int),
    Flag("max-prompt-len", None, int),
    Flag("seed", 1, int),
    Flag("output-dir", "."),
)


def parse(config: Mapping[str, Any], words: Sequence[str]) -> argparse.Namespace:
    """The settings: flags before entries of the configuration before what is usual. Raises UsageError."""
    given = {name.replace("-", "_"): value for name, value in config.items()}
    known = {flag.key for flag in FLAGS}
    if strange := sorted(given.keys() - known):
        raise UsageError(f"DEFAULT_CONFIG has no entry {strange[0]}; it may have: {', '.join(sorted(known))}")
    parser = Parser(prog="sweep_strategies.py", description=ABOUT, allow_abbrev=True)
    add(parser, FLAGS)
    parser.set_defaults(**given)
    args, unknown = parser.parse_known_args(list(words))
    if unknown:
        raise UsageError(f"{unknown[0]} is no flag of sweep_strategies.py: leave it out")
    args.scheduler_strategies_dict = _strategies(args.scheduler_strategies_dict)
    _check(args)
    return args


ABOUT = (
    "For each routing strategy: start a server, run benchmark.py on it, read the replicas' metrics, stop the server. Adds a row "
    "for each to serve_DATASET_sweep_results.csv and vllm_DATASET_sweep_results.csv. See docs/sweep_strategies.md."
)


def _strategies(given: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    """By name. On the command line NAME=ROUTER, or a NAME that is a router's."""
    if isinstance(given, Mapping):
        pairs = [(str(name), str(value)) for name, value in given.items()]
    else:
        pairs = [
            (name, value if equals else name) for name, equals, value in (one.partition("=") for one in given)
        ]
    found = dict(pairs)
    if not found or len(found) < len(pairs) or not all(name and value for name, value in pairs):
        raise UsageError("--scheduler-strategies-dict: give NAME=ROUTER, each name once")
    if wrong := next((name for name in found if "/" in name), None):
        raise UsageError(f"--scheduler-strategies-dict: {wrong} names files, it must not contain /")
    return found


def _check(args: argparse.Namespace) -> None:
    for flag in FLAGS:
        value = getattr(args, flag.key)
        if flag.kind == BOOLEAN and not isinstance(value, bool):
            setattr(args, flag.key, boolean(str(value)))
    if args.num_servers < 1:
        raise UsageError(f"--num-servers must be at least 1 (got {args.num_servers})")
    if not args.ready_timeout > 0:
        raise UsageError(f"--ready-timeout must be above 0 s (got {args.ready_timeout:g})")
    for name, port in (("router", args.router_port), ("metrics", args.metrics_port)):
        if not 0 <= port <= 65535:
            raise UsageError(f"--{name}-port must be from 0 to 65535 (got {port})")
    _check_files(args)


def _check_files(args: argparse.Namespace) -> None:
    """What is missing is known before a server starts, which may take minutes."""
    link = (args.dataset_link or "").rstrip(",")
    if args.dataset_name == "sharegpt" and link and "://" not in link and not Path(link).is_file():
        raise UsageError(f"--dataset-link {link}: there is no such file")
    try:
        Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output-dir {args.output_dir}: {error.strerror or error}") from None
