"""The spelling of guidellm 0.7, `--backend kind=…,target=…` and its like, as flags of 0.3; some of 0.4 to 0.6 too.

Source: guidellm's migration guide for 0.7 and the argument classes of 0.7 and 0.8.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vllmperf.compat.guidellm import pairs
from vllmperf.compat.guidellm.pairs import Pairs
from vllmperf.compat.guidellm.profiles import RATE_TYPES
from vllmperf.compat.guidellm.settings import ROUTES
from vllmperf.compat.guidellm.values import (
    Flag,
    as_text,
    choice,
    count,
    dashed,
    is_on,
    rates,
    seconds,
    seed,
    whole,
)
from vllmperf.errors import UsageError

Flags = dict[str, Any]
GIVEN_UP = "a run is given up after 1000 failed requests in a row: leave it out"
AT_ONCE = "load begins at once: leave it out, or cut the start off by --warmup-percent"
AS_IT_STANDS = "data are sent as they stand: leave it out"
FIND = "vllmperf capacity finds the rate that the server keeps up with"
REFUSED = {
    "--rampup": AT_ONCE,
    "--max-errors": GIVEN_UP,
    "--max-error-rate": GIVEN_UP,
    "--max-global-error-rate": GIVEN_UP,
    "--over-saturation": FIND,
    "--detect-saturation": FIND,
    "--default-over-saturation": FIND,
    "--data-preprocessor": AS_IT_STANDS,
    "--data-preprocessors": AS_IT_STANDS,
    "--data-preprocessors-kwargs": AS_IT_STANDS,
    "--data-finalizer": AS_IT_STANDS,
    "--data-num-workers": "nothing loads data beside the run: leave it out",
    "--dataloader-kwargs": "write --data-loader kind=pytorch,samples=…,shuffle=true",
}
"""Flags of later versions that are not here, and what to do."""
PROFILE = {
    "streams": "rate",
    "rate": "rate",
    "sweep_size": "rate",
    "max_concurrency": "max_concurrency",
    "strategy_type": "swept",
    "warmup": "warmup_percent",
    "cooldown": "cooldown_percent",
}
"""What `--profile kind=…` may hold, and the flag that it stands for."""
CONSTRAINTS = {"max_duration": ("seconds", "max_seconds"), "max_requests": ("count", "max_requests")}
"""Kinds of `--constraint kind=…`: their key, and the flag that it stands for."""
CONSTRAINTS_REFUSED = {
    "max_errors": GIVEN_UP,
    "max_error_rate": GIVEN_UP,
    "max_global_error_rate": GIVEN_UP,
    "over_saturation": FIND,
    "min_requests": "write kind=max_requests: all of them are waited for",
}
BACKEND_ARGUMENTS = ("api_key", "timeout", "verify", "http2", "follow_redirects")
"""What means the same in --backend of 0.7 and in --backend-args."""
BACKEND = ("kind", "target", "model", "request_format", "stream", "validate_backend", "max_tokens",
           "max_completion_tokens", "extras", *BACKEND_ARGUMENTS)  # fmt: skip
FILES = ("text_file", "csv_file", "json_file", "parquet_file", "arrow_file")
HUB = ("huggingface", "hf")
OUTPUTS = ("json", "yaml", "csv", "html")


def refuse(words: Sequence[str]) -> None:
    """UsageError, with what to do, for a flag of a later version that is not here."""
    for word in words:
        flag = word.partition("=")[0]
        if flag in REFUSED:
            raise UsageError(f"guidellm: {flag} is not here: {REFUSED[flag]}")


def flags(given: Mapping[str, Any]) -> Flags:
    """Flags of 0.3 for all that is given; what is spelled as in 0.7 goes before the same in the spelling of 0.3."""
    found = {name: value for name, value in given.items() if name not in READERS}
    for name, read in READERS.items():
        if given.get(name):
            found |= read(given[name])
    return found


def _read(flag: str, read: Callable[[str], Any], value: Any) -> Any:
    return Flag(flag, read, "").value(as_text(value))


# ---- load ----


def _profile(text: str) -> Flags:
    given = pairs.read("profile", text)
    kind = pairs.kind_of("profile", given, RATE_TYPES)
    if str(given.pop("rampup_duration", 0)) not in ("0", "0.0", "None"):
        raise UsageError(f"guidellm: --profile: rampup_duration is not here: {AT_ONCE}")
    pairs.only("profile", given, PROFILE)
    found: Flags = {"rate_type": kind}
    for name, value in given.items():
        to = PROFILE[name]
        found[to] = _read("profile", _PROFILE_READERS[to], value)
    return found


def _transient(text: str) -> float:
    """warmup and cooldown: a share, or {"percent": share}."""
    found = pairs.plain(text)
    if isinstance(found, dict) and str(found.get("mode", "prefer")).startswith("prefer"):
        found = found.get("percent")
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1:
        raise ValueError("warmup and cooldown as shares of the limit, from 0 to below 1: 2 s of 60 are 0.033")
    return float(found)


_PROFILE_READERS: dict[str, Callable[[str], Any]] = {
    "rate": rates,
    "max_concurrency": whole,
    "swept": choice("constant", "poisson"),
    "warmup_percent": lambda text: _transient(text) or None,
    "cooldown_percent": lambda text: _transient(text) or None,
}


def _constraints(texts: Sequence[str]) -> Flags:
    found: Flags = {}
    for text in texts:
        found |= _constraint(pairs.read("constraint", text))
    return found


def _constraint(given: Pairs) -> Flags:
    if (kind := str(given.get("kind", ""))) in CONSTRAINTS_REFUSED:
        raise UsageError(f"guidellm: --constraint: kind {kind} is not here: {CONSTRAINTS_REFUSED[kind]}")
    pairs.kind_of("constraint", given, CONSTRAINTS)
    key, flag = CONSTRAINTS[kind]
    value = given.pop(key, given.pop(kind, None))
    if given or value is None:
        raise UsageError(f"guidellm: --constraint: write kind={kind},{key}=NUMBER")
    return {flag: _read("constraint", seconds if flag == "max_seconds" else whole, value)}


def _overrides(given: Sequence[Sequence[str]]) -> Flags:
    found: Flags = {}
    for name, values in given:
        if name not in ("profile.streams", "profile.rate"):
            raise UsageError(
                f"guidellm: --override {name} is not here; there are profile.streams and profile.rate"
            )
        found["rate"] = _read("override", rates, values)
    return found


def _seed(text: str) -> Flags:
    given = pairs.read("seed", text) if "=" in text or "{" in text else {"value": text}
    if given.pop("kind", "static") != "static" or set(given) != {"value"}:
        raise UsageError("guidellm: --seed: write kind=static,value=NUMBER")
    return {"random_seed": _read("seed", seed, given["value"])}


# ---- the server ----


def _backend(text: str) -> Flags:
    given = pairs.read("backend", text)
    advice = ": start the model by vllm serve and give its address as target"
    pairs.kind_of("backend", given, ("openai_http",), advice)
    pairs.only("backend", given, BACKEND)
    if not is_on(str(given.get("stream", True))):
        raise UsageError(
            "guidellm: --backend: stream=false is not here: without a stream there is no TTFT and no ITL"
        )
    found: Flags = {name: str(given[name]) for name in ("target", "model") if given.get(name)}
    found |= (
        _route(given.get("request_format"))
        if given.get("request_format")
        else {"usual_route": "chat_completions"}
    )
    found["is_probed"] = is_on(str(given.get("validate_backend", True)))
    return {**found, "backend_args": _backend_arguments(given)}


def _route(value: Any) -> Flags:
    routes = {path: name for name, path in ROUTES.items()}
    name = routes.get(str(value), str(value))
    if name not in ROUTES:
        raise UsageError(f"guidellm: request_format {value} is not here; there are {', '.join(routes)}")
    return {"route": name}


def _backend_arguments(given: Pairs) -> dict[str, Any]:
    found = {name: pairs.plain(given[name]) for name in BACKEND_ARGUMENTS if given.get(name) is not None}
    if "api_key" in found:
        found["api_key"] = str(given["api_key"])
    if "verify" in found:
        found["verify"] = is_on(str(given["verify"]))
    most = given.get("max_tokens") or given.get("max_completion_tokens")
    if most is not None:
        found["max_output_tokens"] = pairs.plain(most)
    return found | _extras(pairs.mapping("backend", given.get("extras"), "extras"))


def _extras(given: Pairs) -> dict[str, Any]:
    pairs.only("backend", given, ("body", "headers"), " in extras")
    names = {"body": "extra_body", "headers": "headers"}
    return {
        names[name]: pairs.plain(pairs.mapping("backend", value, f"extras.{name}"))
        for name, value in given.items()
    }


# ---- data ----


def _data(texts: Sequence[str]) -> Flags:
    if len(texts) > 1:
        raise UsageError("guidellm: --data is given more than once: one source of prompts is taken here")
    text = texts[0].strip()
    if not text.startswith("kind=") and not (text.startswith("{") and '"kind"' in text):
        return {"data": texts[0]}
    given = pairs.read("data", text)
    kind = pairs.kind_of("data", given, ("synthetic_text", *FILES, *HUB))
    if kind == "synthetic_text":
        return {"data": json.dumps(given)}
    key = "source" if kind in HUB else "path"
    pairs.only("data", given, (key, "load_kwargs"))
    if not given.get(key):
        raise UsageError(f"guidellm: --data: {key} is missing; write kind={kind},{key}=…")
    arguments = pairs.plain(pairs.mapping("data", given.get("load_kwargs"), "load_kwargs"))
    return {"data": str(given[key]), **({"data_args": arguments} if arguments else {})}


def _loader(text: str) -> Flags:
    given = pairs.read("data_loader", text)
    pairs.kind_of("data_loader", given, ("pytorch",))
    pairs.only("data_loader", given, ("samples", "shuffle", "num_workers"))
    found: Flags = {"data_sampler": "random"} if is_on(str(given.get("shuffle", False))) else {}
    samples = str(given.get("samples", -1))
    return found if samples == "-1" else {**found, "data_samples": _read("data_loader", whole, samples)}


def _columns(text: str) -> Flags:
    given = pairs.read("data_column_mapper", text)
    if given.pop("kind", "generative_column_mapper") != "generative_column_mapper":
        raise UsageError(
            "guidellm: --data-column-mapper: write kind=generative_column_mapper,column_mappings.text_column=…"
        )
    return {
        "columns": pairs.mapping("data_column_mapper", given.get("column_mappings", given), "column_mappings")
    }


def _tokenizer(text: str) -> Flags:
    given = pairs.read("tokenizer", text)
    pairs.kind_of("tokenizer", given, ("huggingface_auto", "hf_auto"))
    pairs.only("tokenizer", given, ("model", "load_kwargs"))
    found: Flags = {"processor": str(given["model"])} if given.get("model") else {}
    arguments = pairs.plain(pairs.mapping("tokenizer", given.get("load_kwargs"), "load_kwargs"))
    return {**found, **({"processor_args": arguments} if arguments else {})}


# ---- outputs ----


def _outputs(texts: Sequence[str]) -> Flags:
    """--output of 0.7. The tables are printed anyway: console alone means no file."""
    found: list[Path] = []
    for text in texts:
        given = pairs.read("output", text)
        kind = pairs.kind_of("output", given, (*OUTPUTS, "console"))
        pairs.only("output", given, ("path",))
        if kind != "console":
            found.append(_suffixed(kind, Path(given.get("path") or f"benchmarks.{kind}")))
    return {"output_paths": tuple(found)}


def _suffixed(kind: str, path: Path) -> Path:
    if path.is_dir():
        return path / f"benchmarks.{kind}"
    if path.suffix.lower() not in (f".{kind}", ".yml" if kind == "yaml" else f".{kind}"):
        raise UsageError(f"guidellm: --output: {path} does not end in .{kind}, its kind")
    return path


def _named_outputs(texts: Sequence[str]) -> Flags:
    """--outputs of 0.4 to 0.6: formats, or names of files in --output-dir."""
    names = [name.strip() for text in texts for name in text.split(",") if name.strip() != "console"]
    return {"output_names": tuple(f"benchmarks.{name}" if name in OUTPUTS else name for name in names)}


def _metrics(text: str) -> Flags:
    given = pairs.read("metrics", text)
    pairs.kind_of("metrics", given, ("generative",))
    pairs.only("metrics", given, ("sample_size",), "; vllmperf bench --goodput counts requests by objectives")
    size = given.get("sample_size")
    return {} if size in (None, "null", "None") else {"output_sampling": _read("metrics", count, size)}


def _labels(texts: Sequence[str]) -> Flags:
    bad = next((text for text in texts if "=" not in text), None)
    if bad is not None:
        raise UsageError(f"guidellm: --label {bad}: write NAME=VALUE")
    return {"labels": dict(text.split("=", 1) for text in texts)}


READERS: dict[str, Callable[[Any], Flags]] = {
    "disable_console": lambda _: {"disable_console_outputs": True, "disable_progress": True},
    "rate": lambda given: {"rate": tuple(rate for several in given for rate in several)},
    "backend": _backend,
    "request_format": _route,
    "profile": _profile,
    "override": _overrides,
    "constraint": _constraints,
    "seed": _seed,
    "data": _data,
    "data_loader": _loader,
    "data_column_mapper": _columns,
    "tokenizer": _tokenizer,
    "output": _outputs,
    "outputs": _named_outputs,
    "metrics": _metrics,
    "label": _labels,
}
"""How each of them becomes flags of 0.3; of the same flag the one further down holds."""

SPEC = {"constraints": "constraint", "outputs": "output"}
"""Names of a scenario of 0.7 that are not those of its flags."""


def spec(found: Mapping[str, Any]) -> dict[str, Any]:
    """The "spec" of a scenario of 0.7 as texts of its flags."""
    texts: dict[str, Any] = {}
    for key, value in found.items():
        name = SPEC.get(key, key)
        if name not in READERS or name in ("outputs", "override"):
            raise UsageError(
                f"guidellm: the scenario's spec.{key} is not here: {REFUSED.get(dashed(name), 'leave it out')}"
            )
        is_list = isinstance(value, list)
        entries = [as_text(entry) for entry in (value if is_list else [value])]
        texts[name] = entries if is_list or name in ("constraint", "output", "data", "label") else entries[0]
    return texts
