"""JSON schemas of what can be asked for: the page makes its form of them, the service checks by the same tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from vllmperf import datasets
from vllmperf.api.stress_runs import PRESET
from vllmperf.dropin.benchmark_serving.flags import (
    ANY_NUMBER,
    BOOLEAN,
    FLAGS,
    ONE_OR_MORE,
    SWITCH,
    TRISTATE,
    Flag,
)
from vllmperf.loadgen.notes import Notes
from vllmperf.plan.knobs import Knobs
from vllmperf.plan.load import ARRIVALS
from vllmperf.plan.part import Part, jsonable
from vllmperf.plan.plan import PARTS
from vllmperf.plan.target import BACKENDS
from vllmperf.service import examples
from vllmperf.service.payload import FIRST_PROFILE, OF_THE_RUN

TYPES = {"bool": "boolean", "int": "integer", "float": "number", "str": "string"}
DURATIONS = ("duration", "think_time", "report_interval", "grace_period")


def schema(help_texts: Mapping[str, str]) -> dict[str, Any]:
    """{"plan": …, "stress": …, "start_load": {profile: …}, …}. help_texts: of a plan's settings."""
    known = _settings(help_texts)
    return {
        "plan": _object(known),
        "stress": _object({name: _preset(name, each) for name, each in known.items()}),
        "start_load": {name: _payload(name, flags) for name, flags in FLAGS.items()},
        "start_load_profile": FIRST_PROFILE,
        "examples": {"start_load": examples.PAYLOAD, "runs": examples.BODIES},
    }


def _object(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


# ---- a plan ----


def _settings(help_texts: Mapping[str, str]) -> dict[str, Any]:
    parts: dict[str, type[Part]] = {**PARTS, "engine": Knobs}
    found = {
        each.name: {**_typed(each), "title": part, "description": help_texts.get(each.name, "")}
        for part, kind in parts.items()
        for each in dataclasses.fields(kind)
    }
    notes = {
        each.name: {"title": "notes", "description": help_texts.get(each.name, "")}
        for each in dataclasses.fields(Notes)
    }
    return {
        **found,
        **notes,
        "api_key": {"type": "string", "title": "target", "writeOnly": True, "description": SECRET},
    }


def _preset(name: str, each: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with the default of a stress run."""
    return {**each, "default": PRESET[name]} if name in PRESET else each


SECRET = "bearer token; never written anywhere"


def _typed(each: dataclasses.Field[Any]) -> dict[str, Any]:
    """Type, default and choices of a setting."""
    kind = str(each.type).removesuffix(" | None")
    found: dict[str, Any] = {"type": TYPES.get(kind, "array" if kind.startswith("tuple") else "object")}
    if each.name in DURATIONS or each.name.endswith("_timeout"):
        found = {"type": ["number", "string"], "format": "duration"}
    elif each.name in ("request_rate", "burstiness"):
        found = {"type": ["number", "string"]}  # "inf"
    choices = {"dataset_name": tuple(datasets.table()), "backend": tuple(BACKENDS), "arrival": ARRIVALS}.get(
        each.name
    )
    return {**found, "default": jsonable(each.default), **({"enum": list(choices)} if choices else {})}


# ---- a payload ----


def _payload(profile: str, flags: Any) -> dict[str, Any]:
    known = {flag.key: _flag(flag) for flag in flags if flag.key not in OF_THE_RUN}
    known["profile"] = {
        "enum": [profile],
        "description": "whose rules and output: that release of vLLM's client",
    }
    return _object(known, required=[flag.key for flag in flags if flag.needed])


def _flag(flag: Flag) -> dict[str, Any]:
    if flag.kind in (SWITCH, TRISTATE, BOOLEAN):
        kind: Any = "boolean"
    elif flag.kind in (ONE_OR_MORE, ANY_NUMBER):
        kind = "array"
    elif flag.kind is json.loads:
        kind = "object"
    else:
        kind = "integer" if flag.kind is int else "number" if flag.kind is float else "string"
    default = "inf" if flag.default == float("inf") else flag.default
    if isinstance(default, dict):  # with tuples for keys: it is given as a text
        default = repr(default)
    choices = {"enum": list(flag.choices)} if flag.choices else {}
    return {"type": ["number", "string"] if default == "inf" else kind, "default": default, **choices}
