"""The settings of the simulated server: one table for Python, for `vllmperf sim` and for `--sim k=v,...`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.errors import UsageError


@dataclass(frozen=True)
class Setting:
    """One setting: how it is called, what it is, and what it is when nothing is said."""

    name: str
    default: Any
    parse: Callable[[str, Any], Any]
    metavar: str
    help: str
    group: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def unknown(name: str) -> UsageError:
    import difflib

    close = difflib.get_close_matches(name.partition("=")[0].strip().replace("-", "_"), BY_NAME, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`vllmperf sim --help` lists them"
    return UsageError(f"the simulator has no setting {name!r}; write name=value; {hint}")


def wrong(name: str, value: Any, wanted: str) -> UsageError:
    return UsageError(f"simulator setting {name}: {value!r} is not {wanted}")


def text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or '"' in value or "\\" in value:
        raise wrong(name, value, "a plain text")
    return value


def path(_name: str, value: Any) -> str:
    return "" if value is None else str(value)


def whole(least: int, most: int = 2**62) -> Callable[[str, Any], int]:
    def parse(name: str, value: Any) -> int:
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise wrong(name, value, "a whole number") from None
        if isinstance(value, float) and number != value:
            raise wrong(name, value, "a whole number")
        if not least <= number <= most:
            raise wrong(name, value, f"between {least} and {most}" if most < 2**62 else f"at least {least}")
        return number

    return parse


def number(name: str, value: Any) -> float:
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise wrong(name, value, "a number") from None
    if not 0 <= result < 1e9:
        raise wrong(name, value, "a number of at least 0")
    return result


def positive(name: str, value: Any) -> float:
    result = number(name, value)
    if result == 0:
        raise wrong(name, value, "a number above 0")
    return result


def one_of(*choices: str) -> Callable[[str, Any], str]:
    def parse(name: str, value: Any) -> str:
        if value not in choices:
            raise wrong(name, value, f"one of {', '.join(choices)}")
        return str(value)

    return parse


def graph_sizes(name: str, value: Any) -> list[int]:
    """Batch sizes in ascending order; "vllm" stands for those that vLLM captures by default."""
    if value == "vllm":
        return [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
    parts = [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    try:
        return sorted({whole(1, 2**20)(name, part) for part in parts})
    except (TypeError, UsageError):
        raise wrong(name, value, 'batch sizes such as "1,2,4,8", or "vllm"') from None


def switch(name: str, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        return value.lower() in ("1", "true", "yes", "on")
    if isinstance(value, bool):
        return value
    raise wrong(name, value, "true or false")


def duration(name: str, value: Any) -> str:
    """A constant or a distribution in ms; the C part reads the text."""
    parts = str(value).split(":")
    numbers = parts if len(parts) == 1 else parts[1:]
    kinds = {1: ("",), 2: ("constant",), 3: ("normal", "lognormal")}.get(len(parts), ())
    try:
        fine = (parts[0] if len(parts) > 1 else "") in kinds and all(0 <= float(n) < 1e9 for n in numbers)
    except ValueError:
        fine = False
    if not fine or isinstance(value, bool) or (parts[0] == "lognormal" and float(parts[1]) == 0):
        raise wrong(name, value, "milliseconds, normal:MEAN:STD or lognormal:MEAN:STD")
    return str(value)


def fault_list(name: str, value: Any) -> list[str]:
    faults = value.split(";") if isinstance(value, str) else list(value)
    if not all(isinstance(fault, str) for fault in faults):
        raise wrong(name, value, "a list of faults, each a text such as 'stall:after=3@every=10'")
    return [fault.strip() for fault in faults if fault.strip()]


def limit(name: str, value: Any) -> float:
    """A number of at least 0, or infinity."""
    try:
        if float(value) == math.inf:
            return math.inf
    except (TypeError, ValueError):
        raise wrong(name, value, "a number, or inf") from None
    return number(name, value)


BATCHING, REPLICAS = "batching", "replicas"
MOST_REPLICAS = 64


def routing(name: str, default: Any, parse: Callable[[str, Any], Any], metavar: str, text: str) -> Setting:
    """A setting of several engines behind one endpoint."""
    return Setting(name, default, parse, metavar, text, REPLICAS)


def batching(name: str, default: Any, parse: Callable[[str, Any], Any], metavar: str, text: str) -> Setting:
    """A setting that only the batching mode looks at."""
    return Setting(name, default, parse, metavar, text, BATCHING)


ROUTERS = {
    "round_robin": "one after the other",
    "pow2": "of two drawn replicas, the one with fewer ongoing requests",
    "prefix_aware": "the one that has seen the longest beginning of the text, as Ray's PrefixCacheAffinityRouter",
    "least_loaded": "the one with the fewest ongoing requests",
    "session": "by the header x-session-id, without one as pow2",
}

SETTINGS: tuple[Setting, ...] = (
    Setting("host", "127.0.0.1", text, "HOST", "address to listen on"),
    Setting("port", 8000, whole(0, 65535), "PORT", "port to listen on, 0 for any free one"),
    Setting("model", "sim", text, "NAME", "name of the model"),
    Setting(
        "ttft_ms",
        "50",
        duration,
        "MS",
        "time to the first token: 50, normal:50:5 or lognormal:50:10 (mean, deviation)",
    ),
    Setting(
        "itl_ms", "10", duration, "MS", "time between two token chunks, in the same forms; drawn for each gap"
    ),
    Setting(
        "head_ms",
        4.0,
        number,
        "MS",
        "time from a request to the head of its answer, at most to the first token; 0 = at once",
    ),
    Setting("tokens_per_chunk", 1, whole(1, 100_000), "N", "tokens in each chunk"),
    Setting("chat_max_tokens", 128, whole(1, 10_000_000), "N", "tokens of a chat that names no limit"),
    Setting(
        "eos_mean",
        0.0,
        number,
        "N",
        "texts end by themselves after so many tokens in the mean (geometric), unless ignore_eos; 0 = never",
    ),
    Setting(
        "seed",
        0,
        whole(0),
        "N",
        "random seed; with the number of a request it decides all that is random about it",
    ),
    Setting(
        "max_model_len", 131_072, whole(2, 10_000_000), "N", "longest prompt and answer together, in tokens"
    ),
    Setting("vocab_size", 0, whole(0), "N", "refuse token ids from N on, as vLLM does; 0 accepts all"),
    Setting("keep_alive_s", 5.0, number, "S", "close a connection that is idle for so long"),
    Setting("close_connections", False, switch, "BOOL", "close the connection after each answer"),
    Setting("max_header_bytes", 65_536, whole(256, 2**30), "N", "answer 431 to longer request heads"),
    Setting("max_body_bytes", 64 * 2**20, whole(0, 2**30), "N", "answer 413 to longer request bodies"),
    Setting(
        "mode",
        "auto",
        one_of("auto", "fixed", "batching"),
        "MODE",
        "fixed: ttft-ms and itl-ms at any load; batching: a scheduler with the step times below; "
        "auto: batching with several replicas, else fixed",
    ),
    Setting(
        "enable_per_request_metrics",
        False,
        switch,
        "BOOL",
        "add the server's times of a request to its answer, as vLLM does",
    ),
    Setting(
        "enable_prompt_tokens_details",
        False,
        switch,
        "BOOL",
        "report in usage how many prompt tokens the prefix cache held, as vLLM does",
    ),
    Setting(
        "time_scale",
        1.0,
        positive,
        "FACTOR",
        "run the engine this many times faster",
    ),
    Setting("sleep_ms", 0.0, number, "MS", "time that POST /sleep takes"),
    Setting("wake_ms", 0.0, number, "MS", "time that POST /wake_up takes"),
    Setting("version", "0.32.0", text, "VERSION", "version of vLLM that the server reports"),
    Setting(
        "truth", "", path, "FILE", "write to FILE one JSON object per request: the planned and the real times"
    ),
    batching("alpha_ms", 6.973, number, "MS", "time of every step"),
    batching("beta_ms", 0.027, number, "MS", "and for each sequence that decodes in it"),
    batching("gamma_ms", 0.0, number, "MS", "and once when it has prompt tokens"),
    batching("delta_ms", 0.02, number, "MS", "and for each prompt token"),
    batching("kv_ms", 0.0, number, "MS", "and for each token of context that a decode reads"),
    batching(
        "attention_ms",
        0.0,
        number,
        "MS",
        "and for each pair of a prompt token and a token that it attends to",
    ),
    batching("front_ms", 0.0, number, "MS", "time from the arrival of a request until it is in the queue"),
    batching(
        "step_noise",
        0.0,
        number,
        "SHARE",
        "standard deviation of a step's time as a share of it (lognormal, mean 1)",
    ),
    batching(
        "graph_sizes",
        "",
        graph_sizes,
        "N,N,...",
        "round the batch of a step that only decodes up to the next of these sizes; vllm for those of vLLM",
    ),
    batching("max_num_seqs", 256, whole(1, 2**20), "N", "most sequences in a step"),
    batching(
        "max_num_batched_tokens",
        0,
        whole(0, 2**30),
        "N",
        "most tokens in a step; 0 = 8192, or max_model_len without chunked prefill",
    ),
    batching("enable_chunked_prefill", True, switch, "BOOL", "spread a long prompt over several steps"),
    batching("enable_prefix_caching", True, switch, "BOOL", "compute equal beginnings of prompts once"),
    batching(
        "scheduling_policy",
        "fcfs",
        one_of("fcfs", "priority"),
        "POLICY",
        "fcfs, or priority (lowest first)",
    ),
    batching("block_size", 16, whole(1, 2**16), "N", "tokens in a block of the KV cache"),
    batching("num_gpu_blocks", 32_768, whole(1, 2**26), "N", "blocks in the KV cache"),
    routing(
        "replicas", 1, whole(1, MOST_REPLICAS), "N", "engines, each with a scheduler and a cache of its own"
    ),
    routing(
        "router",
        "round_robin",
        one_of(*ROUTERS),
        "ROUTER",
        "; ".join(f"{name}: {meaning}" for name, meaning in ROUTERS.items()),
    ),
    routing(
        "imbalanced_threshold",
        math.inf,
        limit,
        "N",
        "prefix_aware falls back to pow2 when the replicas' ongoing requests differ by more",
    ),
    routing(
        "match_rate_threshold",
        0.1,
        number,
        "SHARE",
        "prefix_aware takes the replica that has seen the fewest characters for a text of which less than this is known",
    ),
    Setting(
        "metrics",
        "vllm",
        one_of("vllm", "ray"),
        "FORM",
        "form of /metrics: vllm (a label engine for each replica), or ray (names and labels of Ray Serve LLM)",
    ),
    Setting("faults", (), fault_list, "FAULT", "inject this fault, see below"),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings, those not given by their defaults. UsageError for an unknown or a wrong one."""
    for name in settings:
        if name not in BY_NAME:
            raise unknown(name)
    result = {
        setting.name: setting.parse(setting.name, settings.get(setting.name, setting.default))
        for setting in SETTINGS
    }
    if result["mode"] == "auto":
        result["mode"] = "fixed" if result["replicas"] == 1 else "batching"
    return settle_batching(result) if result["mode"] == "batching" else result


def settle_batching(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with those filled in that follow from others. UsageError where vLLM would not start."""
    cache = settings["num_gpu_blocks"] * settings["block_size"]
    length, seqs = settings["max_model_len"], settings["max_num_seqs"]
    if length == BY_NAME["max_model_len"].default:
        length = min(length, cache)
    if length > cache:
        raise UsageError(
            f"the KV cache holds {cache} tokens, fewer than max_model_len {length}; "
            "raise num_gpu_blocks or lower max_model_len"
        )
    budget = settings["max_num_batched_tokens"]
    if budget == 0:
        budget = max(8192, seqs, 0 if settings["enable_chunked_prefill"] else length)
    if budget < seqs:
        raise UsageError(f"max_num_batched_tokens {budget} is less than max_num_seqs {seqs}; raise it")
    if budget < length and not settings["enable_chunked_prefill"]:
        raise UsageError(
            f"max_num_batched_tokens {budget} is less than max_model_len {length}; raise it, lower "
            "max_model_len, or let prompts be chunked"
        )
    return {**settings, "max_model_len": length, "max_num_batched_tokens": budget}


def parse_settings(text: str) -> dict[str, Any]:
    """The settings of `ttft_ms=50,seed=3,faults=reset:after=3@at=1,2;stall@p=0.1`, checked; only those given.

    A part without a known name and `=` belongs to the part before it. Names may be written with `-`.
    """
    parts: list[list[str]] = []
    for part in text.split(",") if text.strip() else []:
        name, equals, value = part.partition("=")
        name = name.strip().replace("-", "_")
        if equals and name in BY_NAME:
            parts.append([name, value.strip()])
        elif parts and (parts[-1][0] == "faults" or not equals):
            parts[-1][1] += "," + part
        else:
            raise unknown(part)
    settings = {name: BY_NAME[name].parse(name, value) for name, value in parts}
    if "faults" in settings:
        check_faults(settings["faults"])
    return settings


def check_faults(faults: list[str]) -> None:
    """UsageError for a fault that the simulator does not know."""
    from vllmperf._sim import Server

    try:
        Server(checked({"faults": faults}))
    except ValueError as error:
        raise UsageError(str(error)) from None


def describe_faults() -> str:
    """The table of faults for people, from the C part."""
    from vllmperf._sim import FAULTS

    lines = []
    for name, meaning, parameters, of_connection in FAULTS:
        note = " (numbers are those of connections)" if of_connection else ""
        lines.append(f"  {name:<14} {meaning}{note}")
        lines += [f"{'':17}{parameter}={default}: {what}" for parameter, default, what in parameters]
    return "\n".join(lines)
