"""From words, GUIDELLM_… variables and a scenario file to Options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from vllmperf.compat.guidellm.options import Options
from vllmperf.compat.guidellm.profiles import RATE_TYPES, SEED
from vllmperf.compat.guidellm.settings import Settings
from vllmperf.compat.guidellm.settings import settings as read_settings
from vllmperf.errors import UsageError

NEEDED = ("target", "rate_type", "data")
VARIABLE = "GUIDELLM_"
"""Each flag may stand in a variable: GUIDELLM_TARGET for --target."""
LATER_PROFILES = {
    "kind": None,
    "streams": "rate",
    "rate": "rate",
    "sweep_size": "rate",
    "max_concurrency": "max_concurrency",
    "strategy_type": "swept",
}
"""What `--profile kind=…` of guidellm 0.7 may hold, and the flag that it stands for."""
CONSTRAINTS = {"max_duration": ("seconds", "max_seconds"), "max_requests": ("count", "max_requests")}
"""Kinds of `--constraint kind=…` of guidellm 0.7: their key, and the flag that it stands for."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: how its text is read (None: a switch), and its help."""

    name: str
    read: Callable[[str], Any] | None
    help: str


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"guidellm: {message}; see guidellm benchmark --help")


def parse(words: Sequence[str], environment: Mapping[str, str]) -> Options:
    """The options. Flags go before variables, these before the scenario. Raises UsageError by name."""
    settings = read_settings(environment)
    given = {name: value for name, value in vars(_parser().parse_args(words)).items() if value is not None}
    scenario = given.pop("scenario", None)
    values = {**_scenario(scenario), **_variables(environment), **given}
    values |= _later(values.pop("profile", None), values.pop("constraint", []))
    return _options(values, settings)


def _options(values: dict[str, Any], settings: Settings) -> Options:
    values.setdefault("target", settings.openai__base_url)
    missing = next((name for name in NEEDED if values.get(name) is None), None)
    if missing is not None:
        raise UsageError(f"guidellm: {_dashed(missing)} is missing; see guidellm benchmark --help")
    values.pop("backend_type", None)
    values["backend_args"] = values.get("backend_args") or {}
    options = Options(**values, settings=settings)
    if options.max_seconds is None and options.max_requests is None:
        for name in ("warmup_percent", "cooldown_percent"):
            if getattr(options, name) == 1:
                raise UsageError(f"guidellm: {_dashed(name)} 1 leaves no request to count: lower it")
    return options


def _parser() -> Parser:
    parser = Parser(
        prog="guidellm benchmark",
        allow_abbrev=False,
        description="guidellm 0.2/0.3 sent by the engine of vllmperf: the same flags, console and files; no tokenizer "
        "is needed. Definitions and differences: docs/guidellm.md.",
        epilog="Each flag may stand in a variable too: GUIDELLM_TARGET for --target. GUIDELLM__MAX_CONCURRENCY and "
        "its like are read as well.",
    )
    for flag in FLAGS:
        kind: dict[str, Any] = (
            {"action": "store_true"} if flag.read is None else {"metavar": flag.name.upper()}
        )
        if flag.read is not None:
            kind |= {"type": _typed(flag), "action": "append" if flag.name == "constraint" else "store"}
        parser.add_argument(_dashed(flag.name), dest=flag.name, default=None, help=flag.help, **kind)
    return parser


def _typed(flag: Flag) -> Callable[[str], Any]:
    """The flag's reader as argparse wants it."""

    def read(text: str) -> Any:
        try:
            assert flag.read is not None
            return flag.read(text)
        except ValueError as error:
            raise UsageError(f"guidellm: {_dashed(flag.name)} is {text!r}: give {error}") from None

    return read


def _dashed(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """Flags out of the environment."""
    found = {}
    for flag in FLAGS:
        text = environment.get(VARIABLE + flag.name.upper())
        if text:
            found[flag.name] = (
                text.lower() in ("1", "true", "yes", "on", "t", "y")
                if flag.read is None
                else _typed(flag)(text)
            )
    return {name: [value] if name == "constraint" else value for name, value in found.items()}


def _scenario(path: Path | None) -> dict[str, Any]:
    """The flags of a scenario file, JSON or YAML."""
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix.lower() == ".json" else _yaml(text)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"guidellm: --scenario {path} cannot be read: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(found, dict):
        raise UsageError(f"guidellm: --scenario {path} holds no flags")
    readers = {flag.name: flag for flag in FLAGS}
    unknown = next((name for name in found if name not in readers), None)
    if unknown is not None:
        raise UsageError(f"guidellm: --scenario {path}: {unknown} is not known")
    texts = {name: _as_text(value) for name, value in found.items() if value is not None}
    return {
        name: text == "true" if readers[name].read is None else _typed(readers[name])(text)
        for name, text in texts.items()
    }


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _as_text(value: Any) -> str:
    """A value of a scenario as it would stand on the command line."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


# ---- the spelling of 0.7 ----


def _later(profile: str | None, constraints: Sequence[str]) -> dict[str, Any]:
    """Flags of 0.3 for --profile and --constraint of 0.7."""
    found: dict[str, Any] = {}
    if profile is not None:
        found |= _profile(profile)
    for constraint in constraints:
        found |= _constraint(constraint)
    return found


def _profile(text: str) -> dict[str, Any]:
    pairs = _pairs("profile", text) if "=" in text or text.lstrip().startswith("{") else {"kind": text}
    unknown = next((name for name in pairs if name not in LATER_PROFILES), None)
    if unknown is not None:
        raise UsageError(f"guidellm: --profile: {unknown} is not here; there are {', '.join(LATER_PROFILES)}")
    kind = pairs.get("kind")
    if kind not in RATE_TYPES:
        raise UsageError(f"guidellm: --profile: kind {kind} is not here; there are {', '.join(RATE_TYPES)}")
    found: dict[str, Any] = {"rate_type": kind}
    for name, value in pairs.items():
        if (to := LATER_PROFILES[name]) is not None:
            read = {"rate": _rates, "max_concurrency": _whole, "swept": _swept}[to]
            found[to] = _typed(Flag("profile", read, ""))(value)
    return found


def _constraint(text: str) -> dict[str, Any]:
    pairs = _pairs("constraint", text)
    kind = pairs.get("kind", "")
    if kind not in CONSTRAINTS:
        raise UsageError(
            f"guidellm: --constraint: kind {kind} is not here; there are {', '.join(CONSTRAINTS)}"
        )
    key, flag = CONSTRAINTS[kind]
    unknown = next((name for name in pairs if name not in ("kind", key, kind)), None)
    value = pairs.get(key, pairs.get(kind))
    if unknown is not None or value is None:
        raise UsageError(f"guidellm: --constraint: write kind={kind},{key}=NUMBER")
    return {flag: _typed(Flag("constraint", _seconds if flag == "max_seconds" else _whole, ""))(value)}


def _pairs(name: str, text: str) -> dict[str, str]:
    """`kind=concurrent,streams=1,4` or the same as JSON; a piece without = goes on with the one before it."""
    if text.lstrip().startswith("{"):
        return {key: _as_text(value) for key, value in _typed(Flag(name, _json_object, ""))(text).items()}
    found: dict[str, str] = {}
    last = None
    for piece in text.split(","):
        key, mark, value = piece.partition("=")
        if mark:
            last = key.strip()
            found[last] = value.strip().strip("[]")
        elif last is not None:
            found[last] += "," + piece.strip().strip("[]")
        else:
            raise UsageError(f"guidellm: {_dashed(name)} is {text!r}: write kind=NAME,KEY=VALUE")
    return found


# ---- reading single values ----


def _number(text: str, what: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not 0 < found < float("inf"):
        raise ValueError(what)
    return found


def _seconds(text: str) -> float:
    return _number(text, "a number of seconds above 0")


def _share(text: str) -> float:
    found = _number(text, "a share above 0, up to 1")
    if found > 1:
        raise ValueError("a share above 0, up to 1")
    return found


def _rates(text: str) -> tuple[float, ...]:
    what = "a number above 0, or several with commas between"
    return tuple(_number(piece, what) for piece in text.strip("[] ").split(","))


def _whole(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError("a whole number above 0")
    return int(text)


def _count(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError("a whole number from 0 on")
    return int(text)


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError('JSON, like {"name": "value"}')
    return found


def _choice(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(
                "one of " + ", ".join(known) if len(known) > 1 else f"{known[0]}, nothing else is here"
            )
        return text

    return read


_swept = _choice("constant", "poisson")

FLAGS = (
    Flag("scenario", Path, "file (JSON or YAML) with any of these flags, by their names"),
    Flag("target", str, "base URL of the server, with or without /v1"),
    Flag("backend_type", _choice("openai_http"), "openai_http, the only one"),
    Flag("backend_args", _json_object, "JSON: headers, api_key, extra_body, remove_from_body, timeout, …"),
    Flag("model", str, "model; else the first that the server lists"),
    Flag("processor", str, "folder with a tokenizer.json; else prompts are token ids"),
    Flag("processor_args", _json_object, "JSON, noted in the report"),
    Flag("data", str, "prompt_tokens=128,output_tokens=128 with _stdev, _min, _max, or a file"),
    Flag("data_args", _json_object, "JSON: names of the columns of a file"),
    Flag("data_sampler", _choice("random"), "random: shuffle the rows of a file"),
    Flag("rate_type", _choice(*RATE_TYPES), ", ".join(RATE_TYPES)),
    Flag("rate", _rates, "requests/s, streams, or benchmarks of a sweep; several with commas"),
    Flag("max_seconds", _seconds, "end of each benchmark, in s"),
    Flag("max_requests", _whole, "end of each benchmark, in requests"),
    Flag("warmup_percent", _share, "share (0 to 1) at the start that does not count"),
    Flag("cooldown_percent", _share, "share (0 to 1) at the end that does not count"),
    Flag("disable_progress", None, "no progress, only the tables"),
    Flag("display_scheduler_stats", None, "one more line of progress: delays of the client"),
    Flag("disable_console_outputs", None, "no tables"),
    Flag(
        "output_path",
        Path,
        "file that ends in .json, .yaml, .csv or .html, or a folder (default benchmarks.json)",
    ),
    Flag("output_extras", _json_object, "JSON, put into the report"),
    Flag("output_sampling", _count, "keep so many requests of each status in the file"),
    Flag("random_seed", _seed, f"seed of lengths, prompts and Poisson times (default {SEED})"),
    Flag(
        "guidellm_burst",
        None,
        "begin constant and poisson with floor(rate) requests at once, as guidellm 0.3 does",
    ),
    Flag("profile", str, "as in guidellm 0.7: kind=concurrent,streams=4"),
    Flag("constraint", str, "as in guidellm 0.7: kind=max_duration,seconds=60"),
)
