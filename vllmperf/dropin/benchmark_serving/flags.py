"""The flags of each version with their defaults, and the line that says them back.

One table a version, in the order in which the original prints them (its first line of output is that Namespace).
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllmperf.dropin.benchmark_serving.profiles import PROFILES, Profile
from vllmperf.dropin.benchmark_serving.versions import DATASETS, LATER
from vllmperf.errors import UsageError
from vllmperf.parser import Parser

SWITCH, ONE_OR_MORE, ANY_NUMBER, TRISTATE, BOOLEAN = "switch", "+", "*", "tristate", "boolean"
"""Kinds of flags beside functions. A boolean is a switch that also takes true or false."""

OLD_BACKENDS = (
    "tgi",
    "vllm",
    "lmdeploy",
    "deepspeed-mii",
    "openai",
    "openai-chat",
    "tensorrt-llm",
    "scalellm",
    "sglang",
)
BACKENDS_08 = (*OLD_BACKENDS, "openai-audio", "llama.cpp")
BACKENDS_2026 = (
    "vllm",
    "openai",
    "openai-chat",
    "openai-audio",
    "openai-embeddings",
    "openai-embeddings-chat",
    "openai-embeddings-clip",
    "openai-embeddings-vlm2vec",
    "infinity-embeddings",
    "infinity-embeddings-clip",
    "vllm-pooling",
    "vllm-rerank",
)
REFUSED_BACKENDS = (
    "openai-audio",
    "openai-embeddings-clip",
    "openai-embeddings-vlm2vec",
    "infinity-embeddings-clip",
)
"""Audio and images are not here yet."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. kind: a function of its text, or one of the words above. others: its other names."""

    name: str
    default: Any = None
    kind: Callable[[str], Any] | str = str
    choices: Sequence[str] | None = None
    needed: bool = False
    others: Sequence[str] = ()

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")


def _switches(*names: str) -> list[Flag]:
    return [Flag(name, False, SWITCH) for name in names]


def _same(kind: Callable[[str], Any], default: Any, *names: str) -> list[Flag]:
    return [Flag(name, default, kind) for name in names]


def _choice_of_data(profile: str) -> tuple[str, ...]:
    version = PROFILES[profile].version
    return tuple(name for name, versions in DATASETS.items() if version in versions)


def _buckets(text: str) -> dict[tuple[int, int, int], float]:
    found = ast.literal_eval(text)
    return {tuple(key): float(value) for key, value in found.items()}


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


_LOAD = [
    Flag("num-prompts", 1000, int),
    Flag("logprobs", None, int),
    Flag("request-rate", math.inf, float),
    Flag("burstiness", 1.0, float),
    Flag("seed", 0, int),
]
_FILE = [
    Flag("metadata", None, ANY_NUMBER),
    Flag("result-dir"),
    Flag("result-filename"),
    *_switches("ignore-eos"),
]
_FIGURES = [
    Flag("percentile-metrics", "ttft,tpot,itl"),
    Flag("metric-percentiles", "99"),
    Flag("goodput", None, ONE_OR_MORE),
]
_LENGTHS = [
    Flag("sonnet-input-len", 550, int),
    Flag("sonnet-output-len", 150, int),
    Flag("sonnet-prefix-len", 200, int),
    Flag("sharegpt-output-len", None, int),
]
_HF = [Flag("hf-subset"), Flag("hf-split"), Flag("hf-output-len", None, int)]


def _random(ratio: Flag) -> list[Flag]:
    return [
        Flag("random-input-len", 1024, int),
        Flag("random-output-len", 128, int),
        ratio,
        Flag("random-prefix-len", 0, int),
    ]


FLAGS_06 = [
    Flag("backend", "vllm", choices=OLD_BACKENDS),
    Flag("base-url"),
    Flag("host", "localhost"),
    Flag("port", 8000, int),
    Flag("endpoint", "/v1/completions"),
    Flag("dataset"),
    Flag("dataset-name", "sharegpt", choices=_choice_of_data("vllm-0.6")),
    Flag("dataset-path"),
    Flag("max-concurrency", None, int),
    Flag("model", needed=True),
    Flag("tokenizer"),
    Flag("best-of", 1, int),
    *_switches("use-beam-search"),
    *_LOAD,
    *_switches("trust-remote-code", "disable-tqdm", "profile", "save-result"),
    *_FILE,
    *_FIGURES,
    *_LENGTHS,
    *_random(Flag("random-range-ratio", 1.0, float)),
    *_HF,
]

FLAGS_08 = [
    Flag("backend", "vllm", choices=BACKENDS_08),
    Flag("base-url"),
    Flag("host", "127.0.0.1"),
    Flag("port", 8000, int),
    Flag("endpoint", "/v1/completions"),
    Flag("dataset-name", "sharegpt", choices=_choice_of_data("vllm-0.8")),
    Flag("dataset-path"),
    Flag("max-concurrency", None, int),
    Flag("model", needed=True),
    Flag("tokenizer"),
    *_switches("use-beam-search"),
    *_LOAD,
    *_switches(
        "trust-remote-code", "disable-tqdm", "profile", "save-result", "save-detailed", "append-result"
    ),
    *_FILE,
    *_FIGURES,
    *_LENGTHS,
    *_random(Flag("random-range-ratio", 0.0, float)),
    *_HF,
    Flag("top-p", None, float),
    Flag("top-k", None, int),
    Flag("min-p", None, float),
    Flag("temperature", None, float),
    Flag("tokenizer-mode", "auto", choices=("auto", "slow", "mistral", "custom")),
    Flag("served-model-name"),
    Flag("lora-modules", None, ONE_OR_MORE),
]

SPEED_BENCH = (
    "qualitative",
    "throughput_1k",
    "throughput_2k",
    "throughput_8k",
    "throughput_16k",
    "throughput_32k",
)

FLAGS_2026 = [
    *_switches("trust-remote-code"),
    Flag("seed", 0, int),
    Flag("num-prompts", 1000, int),
    Flag("dataset-name", "random", choices=_choice_of_data("vllm-2026")),
    *_switches("no-stream"),
    Flag("dataset-path"),
    *_switches("no-oversample", "skip-chat-template", "enable-multimodal-chat", "disable-shuffle"),
    Flag("custom-output-len", 256, int),
    *_switches("custom-ensure-client-side-data"),
    Flag("spec-bench-output-len", 256, int),
    Flag("spec-bench-category"),
    Flag("sharegpt-output-len", None, int),
    Flag("timed-trace-chunk-hash-size", 16, int),
    Flag("timed-trace-sec-multiplier", 1, float),
    Flag("timed-trace-label-timestamp", "timestamp"),
    Flag("timed-trace-label-input-length", "input_length"),
    Flag("timed-trace-label-output-length", "output_length"),
    Flag("timed-trace-label-hash-ids", "hash_ids"),
    Flag("blazedit-min-distance", 0.0, float),
    Flag("blazedit-max-distance", 1.0, float),
    Flag("asr-max-audio-len-sec", math.inf, float),
    Flag("asr-min-audio-len-sec", 0.0, float),
    *_random(Flag("random-range-ratio", "0.0")),
    Flag("random-batch-size", 1, int),
    *_switches("no-reranker"),
    Flag("random-mm-base-items-per-request", 1, int),
    Flag("random-mm-num-mm-items-range-ratio", 0.0, float),
    Flag("random-mm-limit-mm-per-prompt", {"image": 255, "video": 1}, json.loads),
    Flag(
        "random-mm-bucket-config",
        {(256, 256, 1): 0.5, (720, 1280, 1): 0.5, (720, 1280, 16): 0.0},
        _buckets,
    ),
    Flag("hf-subset"),
    Flag("hf-split"),
    Flag("hf-name"),
    Flag("hf-output-len", None, int),
    Flag("bfcl-categories", None, _words),
    Flag("prefix-repetition-prefix-len", 256, int),
    Flag("prefix-repetition-suffix-len", 256, int),
    Flag("prefix-repetition-num-prefixes", 10, int),
    Flag("prefix-repetition-output-len", 128, int),
    Flag("speed-bench-dataset-subset", "qualitative", choices=SPEED_BENCH),
    Flag("speed-bench-output-len", 4096, int),
    Flag("speed-bench-category"),
    Flag("label"),
    Flag("backend", "openai", choices=BACKENDS_2026),
    Flag("base-url"),
    Flag("host", "127.0.0.1"),
    Flag("port", 8000, int),
    Flag("endpoint", "/v1/completions"),
    Flag("header", None, ANY_NUMBER),
    Flag("max-concurrency", None, int),
    Flag("model"),
    Flag("input-len", None, int),
    Flag("output-len", None, int),
    Flag("tokenizer"),
    Flag("tokenizer-mode", "auto"),
    *_switches("use-beam-search"),
    Flag("logprobs", None, int),
    Flag("request-rate", math.inf, float),
    Flag("burstiness", 1.0, float),
    Flag("probe-request-rate", 0.0, float),
    *_switches("disable-tqdm"),
    Flag("num-warmups", 0, int),
    *_switches("profile", "save-result", "save-detailed", "append-result"),
    *_FILE,
    Flag("self-timed", None, TRISTATE),
    Flag("percentile-metrics"),
    Flag("metric-percentiles", "99"),
    Flag("goodput", None, ONE_OR_MORE),
    Flag("request-id-prefix"),
    Flag("top-p", None, float),
    Flag("top-k", None, int),
    *_same(
        float, None, "min-p", "temperature", "frequency-penalty", "presence-penalty", "repetition-penalty"
    ),
    Flag("served-model-name"),
    Flag("lora-modules", None, ONE_OR_MORE),
    Flag("lora-assignment", "random", choices=("random", "round-robin")),
    Flag("ramp-up-strategy", choices=("linear", "exponential")),
    Flag("ramp-up-start-rps", None, int),
    Flag("ramp-up-end-rps", None, int),
    Flag("ready-check-timeout-sec", 0, int),
    Flag("chat-template-kwargs", None, json.loads),
    Flag("extra-body", None, json.loads),
    *_switches("skip-tokenizer-init", "insecure", "plot-timeline"),
    Flag("timeline-itl-thresholds", "25,50"),
    *_switches("plot-dataset-stats"),
]

FLAGS: Mapping[str, Sequence[Flag]] = {"vllm-0.6": FLAGS_06, "vllm-0.8": FLAGS_08, "vllm-2026": FLAGS_2026}

BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

OURS = {"both": "print our own metrics beside vLLM's", "record": "write a run file too"}
"""Flags that the originals have not; they are not said back."""

BEFORE_2026 = (
    "subparser='bench', bench_type='serve', "
    "dispatch_function=<function BenchmarkServingSubcommand.cmd at 0x7f0000000000>, "
)
BEHIND_2026 = (
    ", log_config_file=None, logging_config=LoggingConfig(log_level='INFO', formatter='text', "
    "configure_logging=True, pylogging_config_file=None)"
)


# ---- which version, which values ----


def choose(words: Sequence[str], default: str = "vllm-0.6") -> tuple[Profile, list[str]]:
    """The profile that `--profile NAME` names, else the first one that has all flags; and the other words.

    A bare --profile is vLLM's own switch and stays. Raises UsageError for a name that there is not.
    """
    named, rest = named_profile(words)
    if named is not None and named not in PROFILES:
        raise UsageError(f"--profile {named!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[named or _fitting(rest, default)], rest


def named_profile(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The NAME of `--profile NAME`, and the other words. A bare --profile is the client's own switch and stays."""
    rest: list[str] = []
    named: str | None = None
    todo = [*words]
    while todo:
        word = todo.pop(0)
        if word.startswith("--profile="):
            named = word.partition("=")[2]
        elif word == "--profile" and todo and not todo[0].startswith("-"):
            named = todo.pop(0)
        else:
            rest.append(word)
    return named, rest


def _fitting(words: Sequence[str], default: str) -> str:
    asked = {word[2:].partition("=")[0].replace("_", "-") for word in words if word.startswith("--")}
    newer = [name for name in PROFILES if name >= default]
    for name in newer:
        known = {flag.name for flag in FLAGS[name]} | set(OURS) | {"help", "no-self-timed"}
        if asked <= known:
            return name
    return default


def parse(profile: Profile, words: Sequence[str]) -> argparse.Namespace:
    """The values of all flags. Raises UsageError, which names a flag that this version has not."""
    parser = _parser(profile)
    args, unknown = parser.parse_known_args([_dashes(word) for word in words])
    if unknown:
        raise UsageError(
            f"{unknown[0]} is no flag of {profile.program} of {profile.release} "
            f"(--profile {profile.name}): leave it out or choose another --profile"
        )
    if profile.version == "2026" and args.request_id_prefix is None:
        args.request_id_prefix = f"bench-{uuid.uuid4().hex[:8]}-"
    return args


def said_back(profile: Profile, args: argparse.Namespace) -> str:
    """The original's first line: all values, secrets struck out."""
    values = {flag.key: getattr(args, flag.key) for flag in FLAGS[profile.name]}
    if values.get("header"):
        values["header"] = "***"
    text = ", ".join(f"{key}={value!r}" for key, value in values.items())
    return (
        f"Namespace({BEFORE_2026}{text}{BEHIND_2026})" if profile.version == "2026" else f"Namespace({text})"
    )


def _dashes(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _parser(profile: Profile) -> argparse.ArgumentParser:
    parser = Parser(
        allow_abbrev=True,
        prog=f"{profile.program} --profile {profile.name}",
        description=f"{profile.program} of {profile.release}: its requests, output and files, our engine. "
        "What the flags mean is in vLLM's documentation, what differs in docs/profiles.md.",
    )
    add(parser, FLAGS[profile.name])
    return parser


def add(parser: argparse.ArgumentParser, flags: Sequence[Flag]) -> None:
    """These flags and our own."""
    add_flags(parser, flags)
    parser.add_argument("--both", action="store_true", help=OURS["both"])
    parser.add_argument("--record", metavar="FILE", help=OURS["record"])


def add_flags(parser: argparse.ArgumentParser, flags: Sequence[Flag]) -> None:
    for flag in flags:
        _add(parser, flag)


def _add(parser: argparse.ArgumentParser, flag: Flag) -> None:
    name = f"--{flag.name}"
    if flag.kind == SWITCH:
        parser.add_argument(name, action="store_true", help="(off)")
    elif flag.kind == BOOLEAN:
        told = "(none)" if flag.default is None else "(off)"
        more: dict[str, Any] = {"nargs": "?", "const": True, "default": flag.default, "type": boolean}
        parser.add_argument(name, metavar="true|false", help=told, **more)
    elif flag.kind == TRISTATE:
        parser.add_argument(name, action=argparse.BooleanOptionalAction, default=flag.default)
    elif flag.kind in (ONE_OR_MORE, ANY_NUMBER):
        parser.add_argument(name, nargs=str(flag.kind), default=flag.default, metavar="WORD", help="(none)")
    else:
        kind = flag.kind if callable(flag.kind) else str
        checked = _chosen(flag) if flag.choices else kind
        usual = "needed" if flag.needed else "none" if flag.default is None else str(flag.default)
        told = f"({usual}" + (f"; one of {', '.join(flag.choices)})" if flag.choices else ")")
        names = [name, *(f"--{other}" for other in flag.others)]
        fixed: dict[str, Any] = {"dest": flag.key, "required": flag.needed, "metavar": "VALUE"}
        parser.add_argument(*names, type=checked, default=flag.default, help=told, **fixed)


def boolean(text: str) -> bool:
    """true or false in the usual spellings. UsageError for others."""
    if text.lower() not in BOOLEANS:
        raise UsageError(f"{text!r} is neither true nor false")
    return BOOLEANS[text.lower()]


def _chosen(flag: Flag) -> Callable[[str], str]:
    """A value out of the choices; one that comes later is said to."""

    def check(value: str) -> str:
        if value in LATER or value in REFUSED_BACKENDS:
            raise UsageError(
                f"--{flag.name} {value} is not supported yet: audio, images and prepared folders come later"
            )
        if value not in (flag.choices or ()):
            raise UsageError(f"--{flag.name} {value}: choose one of {', '.join(flag.choices or ())}")
        return value

    return check
