"""The names that people give settings, and what goes without saying."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vllmperf import datasets
from vllmperf.errors import SettingError
from vllmperf.plan.load import HAVE_TIMES, NUM_PROMPTS
from vllmperf.plan.spread import parted

ALIASES = {
    "url": "base_url",
    "rate": "request_rate",
    "concurrency": "max_concurrency",
    "dataset": "dataset_name",
    "header": "headers",
    "sim": "simulator",
    "max_duration": "duration",
}
"""Short names, and flags that are called otherwise than the setting."""
NEGATED = {"no_stream": "stream", "no_server_metrics": "server_metrics"}
"""Flags that turn a setting off."""
LENGTHS = ("input_len", "output_len", "prefix_len")
OWN_LENGTHS = frozenset(f"{name}_{kind}" for name in datasets.table() for kind in LENGTHS)
"""Of one data set, like random_input_len: they hold where no general length is given."""
AS_IN_THE_FILE = -1
"""vLLM's word for custom_output_len."""
SIMULATED_AT_ONCE = 32
"""Requests in flight at a simulator, unless something else is asked for: it shares the machine with the client."""


def named(given: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """The same under the settings' own names. Raises SettingError for one that is not known, or is given twice."""
    known, found = frozenset(known), dict[str, Any]()
    for name, value in _own_options(_own_lengths(given)).items():
        own = ALIASES.get(name, NEGATED.get(name, name))
        value = not value if name in NEGATED else value
        if own not in known:
            raise unknown(name, known)
        if own in found:
            raise SettingError("{" + own + "} is given twice under different names: leave one out")
        found[own] = value
    if isinstance(found.get("base_url"), list | tuple):
        found |= parted(found["base_url"])
    if "base_url" in known and isinstance(found.get("simulator"), bool):
        is_on = found.pop("simulator")
        found |= {"simulator": {}} if is_on else {}
    return found


def unknown(name: str, known: Iterable[str], what: str = "no such setting") -> SettingError:
    """no such setting max_concurency: did you mean max_concurrency?"""
    close = nearest(name, known)
    return SettingError(
        f"{what} {{given}}" + (": did you mean {close}?" if close else ""), given=name, close=close
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    known = list(known)
    if ALIASES.get(name) in known:
        return ALIASES[name]
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return close[0] if close else None


def _own_lengths(given: Mapping[str, Any]) -> dict[str, Any]:
    """With the lengths of the data set as general ones."""
    dataset = given.get("dataset_name", given.get("dataset", "random"))
    found = {name: value for name, value in given.items() if name not in OWN_LENGTHS}
    for kind in LENGTHS:
        value = given.get(f"{dataset}_{kind}")
        if value is not None and value != AS_IN_THE_FILE and found.get(kind) is None:
            found[kind] = value
    return found


def _own_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """With the options of single data sets in dataset_options."""
    own = datasets.options()
    options = {name: value for name, value in given.items() if name in own}
    found = {name: value for name, value in given.items() if name not in own}
    return {**found, "dataset_options": {**found.get("dataset_options", {}), **options}} if options else found


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """With what goes without saying, where nothing is said of it."""
    found = {"ignore_eos": given.get("dataset_name", "random") == "random", **given}
    is_free = not any(found.get(name) is not None for name in ("request_rate", "max_concurrency", "arrival"))
    dataset = datasets.table().get(found.get("dataset_name", ""))
    if is_free and dataset is not None and dataset.times_s is not None:
        found["arrival"], is_free = "dataset", False
    if found.get("num_prompts") is None:
        has_end = found.get("arrival") in HAVE_TIMES or any(found.get(name) for name in ("duration", "until"))
        found["num_prompts"] = None if has_end else NUM_PROMPTS
    if found.get("simulator") is not None and is_free:
        found["max_concurrency"] = SIMULATED_AT_ONCE
    if _reads_text(found.get("simulator")) and _makes_ids(found):
        found.setdefault("text_prompts", True)
    return found


def _reads_text(simulator: object) -> bool:
    """Its router finds common prefixes in texts and sees nothing in token ids."""
    return isinstance(simulator, Mapping) and simulator.get("router") == "prefix_aware"


def _makes_ids(given: Mapping[str, Any]) -> bool:
    dataset = datasets.table().get(given.get("dataset_name", datasets.FIRST))
    return dataset is not None and dataset.is_made_up and given.get("tokenizer") in (None, "none")
