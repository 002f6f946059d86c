"""From words, GUIDELLM_… variables and a scenario file to Options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.dropin.guidellm import later, pairs
from vllmperf.dropin.guidellm.options import Options
from vllmperf.dropin.guidellm.profiles import RATE_TYPES, SEED
from vllmperf.dropin.guidellm.settings import Settings
from vllmperf.dropin.guidellm.settings import settings as read_settings
from vllmperf.dropin.guidellm.values import (
    Flag,
    as_text,
    choice,
    count,
    dashed,
    json_object,
    rates,
    seconds,
    seed,
    share,
    whole,
)
from vllmperf.errors import UsageError
from vllmperf.parser import Parser

NEEDED = ("target", "rate_type", "data")
VARIABLE = "GUIDELLM_"
"""Each flag may stand in a variable: GUIDELLM_TARGET for --target."""
SPEC = "GUIDELLM__SPEC__"
"""So begin the variables by which an image of guidellm 0.7 is told its flags."""
Flags = dict[str, Any]


def parse(words: Sequence[str], environment: Mapping[str, str]) -> Options:
    """The options. Flags go before variables, these before the scenario. Raises UsageError by name."""
    later.refuse(words)
    given = {name: value for name, value in vars(_parser().parse_args(words)).items() if value is not None}
    scenario = given.pop("scenario", None)
    layers = (_spec(environment), _scenario(scenario), _variables(environment), given)
    values: Flags = {}
    for layer in layers:
        values |= later.flags(layer)
    routes = [values.pop(name, None) for name in ("route", "usual_route")]
    return _options(values, _settings(environment, *routes))


def _settings(environment: Mapping[str, str], route: str | None, usual_route: str | None) -> Settings:
    found = read_settings(environment, {"preferred_route": usual_route} if usual_route else {})
    return replace(found, preferred_route=route) if route else found


def _options(values: Flags, settings: Settings) -> Options:
    values.setdefault("target", settings.openai__base_url)
    missing = next((name for name in NEEDED if values.get(name) is None), None)
    if missing is not None:
        raise UsageError(f"guidellm: {dashed(missing)} is missing; see guidellm benchmark --help")
    values.pop("backend_type", None)
    values["backend_args"] = values.get("backend_args") or {}
    values["output_paths"] = _places(values)
    _merge(values, "columns", "data_args")
    if labels := values.pop("labels", None):
        values["output_extras"] = {**(values.get("output_extras") or {}), "labels": labels}
    options = Options(**values, settings=settings)
    if options.max_seconds is None and options.max_requests is None:
        for name in ("warmup_percent", "cooldown_percent"):
            if getattr(options, name) == 1:
                raise UsageError(f"guidellm: {dashed(name)} 1 leaves no request to count: lower it")
    return options


def _merge(values: Flags, name: str, into: str) -> None:
    if found := values.pop(name, None):
        values[into] = {**(values.get(into) or {}), **found}


def _places(values: Flags) -> tuple[Path, ...] | None:
    """Where the report goes; None: nobody said it."""
    path, folder = values.pop("output_path", None), values.pop("output_dir", None)
    names, paths = values.pop("output_names", None), values.pop("output_paths", None)
    if path is not None and folder is not None:
        raise UsageError("guidellm: --output-dir does not go with --output-path: leave one out")
    if paths is not None:
        return tuple(paths)
    if names is not None or folder is not None:
        return tuple(Path(folder or ".") / name for name in (names or ("benchmarks.json",)))
    return None if path is None else (path,)


def _parser() -> Parser:
    parser = Parser(
        prog="guidellm benchmark",
        description="guidellm 0.2/0.3 sent by the engine of vllmperf: the same flags, console and files; no tokenizer "
        "is needed. Definitions and differences: docs/guidellm.md.",
        epilog="Each flag may stand in a variable too: GUIDELLM_TARGET for --target. GUIDELLM__MAX_CONCURRENCY and "
        "its like are read as well, from a file .env too.",
    )
    for flag in FLAGS:
        names = [dashed(flag.name), *flag.also]
        parser.add_argument(*names, dest=flag.name, default=None, help=flag.help, **_kind(flag))
    parser.add_argument(
        "--override",
        nargs=2,
        action="append",
        metavar=("NAME", "VALUES"),
        help="as in 0.7: profile.streams 1,4",
    )
    return parser


def _kind(flag: Flag) -> dict[str, Any]:
    if flag.read is None:
        return {"action": "store_true"}
    action = {"action": "append"} if flag.repeated else {}
    return {"metavar": flag.name.upper(), "type": flag.value, **action}


def _variables(environment: Mapping[str, str]) -> Flags:
    """Flags out of the environment."""
    found = {
        flag.name: flag.value(text)
        for flag in FLAGS
        if (text := environment.get(VARIABLE + flag.name.upper()))
    }
    return {name: [value] if BY_NAME[name].repeated else value for name, value in found.items()}


def _spec(environment: Mapping[str, str]) -> Flags:
    """Flags out of GUIDELLM__SPEC__BACKEND__TARGET and its like."""
    found: dict[str, Any] = {}
    for variable, text in environment.items():
        if variable.upper().startswith(SPEC):
            *path, last = variable[len(SPEC) :].lower().split("__")
            inner = found
            for name in path:
                inner = inner.setdefault(name, {})
            inner[last] = pairs.plain(text) if text.lstrip().startswith(("{", "[")) else text
    return later.spec(found)


def _scenario(path: Path | None) -> Flags:
    """The flags of a scenario file, JSON or YAML, by the names of 0.3 or below "spec" as in 0.7."""
    if path is None:
        return {}
    found = _loaded(path)
    if isinstance(found.get("spec"), Mapping):
        labels = (found.get("metadata") or {}).get("labels") or {}
        texts = [f"{name}={value}" for name, value in labels.items()]
        return {**later.spec(found["spec"]), **({"label": texts} if texts else {})}
    unknown = next((name for name in found if name not in BY_NAME), None)
    if unknown is not None:
        raise UsageError(f"guidellm: --scenario {path}: {unknown} is not known")
    return {name: _of_scenario(BY_NAME[name], value) for name, value in found.items() if value is not None}


def _of_scenario(flag: Flag, value: Any) -> Any:
    if flag.repeated:
        entries = value if isinstance(value, list) else [value]
        return [flag.value(as_text(entry)) for entry in entries]
    return flag.value(as_text(value))


def _loaded(path: Path) -> dict[str, Any]:
    try:
        text = text_file.read(path)
        found = json.loads(text) if path.suffix.lower() == ".json" else _yaml(text)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"guidellm: --scenario {path} cannot be read: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(found, dict):
        raise UsageError(f"guidellm: --scenario {path} holds no flags")
    return found


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _sampler(text: str) -> str:
    return "random" if choice("random", "shuffle")(text) else ""


FLAGS = (
    Flag("scenario", Path, "file (JSON or YAML) with any of these flags, by their names", ("--config", "-c")),
    Flag("target", str, "base URL of the server, with or without /v1"),
    Flag("backend_type", choice("openai_http"), "openai_http, the only one"),
    Flag(
        "backend_args",
        json_object,
        "JSON: headers, api_key, extra_body, remove_from_body, timeout, …",
        ("--backend-kwargs",),
    ),
    Flag("model", str, "model; else the first that the server lists"),
    Flag(
        "processor",
        str,
        "folder with a tokenizer.json, or a model of the hub; without it prompts are token ids",
    ),
    Flag("processor_args", json_object, "JSON, noted in the report"),
    Flag(
        "data",
        str,
        "prompt_tokens=128,output_tokens=128 with _stdev, _min, _max, a file, or a data set of the hub",
        repeated=True,
    ),
    Flag("data_args", json_object, "JSON: names of the columns of a file, what load_dataset takes"),
    Flag("data_sampler", _sampler, "random: shuffle the rows of a file"),
    Flag("rate_type", choice(*RATE_TYPES), ", ".join(RATE_TYPES)),
    Flag("rate", rates, "requests/s, streams, or benchmarks of a sweep; several with commas", repeated=True),
    Flag("max_seconds", seconds, "end of each benchmark, in s"),
    Flag("max_requests", whole, "end of each benchmark, in requests"),
    Flag("warmup_percent", share, "share (0 to 1) at the start that does not count", ("--warmup",)),
    Flag("cooldown_percent", share, "share (0 to 1) at the end that does not count", ("--cooldown",)),
    Flag("disable_progress", None, "no progress, only the tables", ("--disable-console-interactive",)),
    Flag("display_scheduler_stats", None, "one more line of progress: delays of the client"),
    Flag("disable_console_outputs", None, "no tables"),
    Flag("disable_console", None, "neither progress nor tables"),
    Flag(
        "output_path",
        Path,
        "file that ends in .json, .yaml, .csv or .html, or a folder (default benchmarks.json)",
    ),
    Flag("output_extras", json_object, "JSON, put into the report"),
    Flag(
        "output_sampling", count, "keep so many requests of each status in the file", ("--sample-requests",)
    ),
    Flag("random_seed", seed, f"seed of lengths, prompts and Poisson times (default {SEED})"),
    Flag(
        "guidellm_burst",
        None,
        "begin constant and poisson with floor(rate) requests at once, as guidellm 0.3 does",
    ),
    Flag("backend", str, "as in 0.7: kind=openai_http,target=URL,model=NAME,request_format=/v1/completions"),
    Flag("request_format", str, "/v1/completions or /v1/chat/completions", ("--request-type",)),
    Flag("profile", str, "as in 0.7: kind=concurrent,streams=4"),
    Flag("constraint", str, "as in 0.7: kind=max_duration,seconds=60", repeated=True),
    Flag("seed", str, "as in 0.7: kind=static,value=42"),
    Flag("data_loader", str, "as in 0.7: kind=pytorch,samples=1000,shuffle=true"),
    Flag("data_samples", whole, "how many of the prompts are sent"),
    Flag(
        "data_column_mapper", str, "as in 0.7: kind=generative_column_mapper,column_mappings.text_column=NAME"
    ),
    Flag("tokenizer", str, "as in 0.7: kind=huggingface_auto,model=FOLDER"),
    Flag("output", str, "as in 0.7: kind=json,path=FILE; again for another format", repeated=True),
    Flag("outputs", str, "as in 0.5: json,csv,html, or names of files", repeated=True),
    Flag("output_dir", Path, "folder of --outputs"),
    Flag("metrics", str, "as in 0.7: kind=generative,sample_size=20"),
    Flag("label", str, "NAME=VALUE, put into the report", ("-l",), repeated=True),
)
BY_NAME = {flag.name: flag for flag in FLAGS}
