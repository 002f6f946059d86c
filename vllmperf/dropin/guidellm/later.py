"""The spelling of guidellm 0.7, `--backend kind=…,target=…` and its like, as flags of 0.3; some of 0.4 to 0.6 too.

Source: guidellm's migration guide for 0.7 and the argument classes of 0.7 and 0.8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vllmperf.dropin.guidellm import later_data, later_load, later_server, pairs
from vllmperf.dropin.guidellm.later_load import AT_ONCE, FIND, GIVEN_UP
from vllmperf.dropin.guidellm.values import as_text, count, dashed
from vllmperf.errors import UsageError
from vllmperf.formats.guidellm_file import KINDS

Flags = dict[str, Any]
AS_IT_STANDS = "data are sent as they stand: leave it out"
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
    if KINDS.get(path.suffix.lower()) != kind:
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
    return {} if size in (None, "null", "None") else {"output_sampling": pairs.value("metrics", count, size)}


def _labels(texts: Sequence[str]) -> Flags:
    bad = next((text for text in texts if "=" not in text), None)
    if bad is not None:
        raise UsageError(f"guidellm: --label {bad}: write NAME=VALUE")
    return {"labels": dict(text.split("=", 1) for text in texts)}


READERS: dict[str, Callable[[Any], Flags]] = {
    "disable_console": lambda _: {"disable_console_outputs": True, "disable_progress": True},
    "rate": lambda given: {"rate": tuple(rate for several in given for rate in several)},
    "backend": later_server.backend,
    "request_format": later_server.route,
    "profile": later_load.profile,
    "override": later_load.overrides,
    "constraint": later_load.constraints,
    "seed": later_load.seeds,
    "data": later_data.data,
    "data_loader": later_data.loader,
    "data_column_mapper": later_data.columns,
    "tokenizer": later_data.tokenizer,
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
