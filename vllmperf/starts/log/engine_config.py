"""Reads the engine's configuration line and the server's arguments."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

_CONFIG_INT = re.compile(
    r"\b(tensor_parallel_size|pipeline_parallel_size|data_parallel_size)=(\d{1,9})(?!\d)"
)
_CONFIG_EAGER = re.compile(r"\benforce_eager=(True|False)")
_CONFIG_MODEL = re.compile(r"\bmodel=(?:'([^']*)'|\"([^\"]*)\"|([^,\s]+))")
_CONFIG_DEVICE = re.compile(r"\bdevice_config=(?:torch\.device\()?(?:type=)?'?(\w+)")
_CONFIG_DRAFT = re.compile(r"\bspeculative_config=(?!None\b)(\w|\{|')")
_SHORT = {"tensor_parallel_size": "tp", "pipeline_parallel_size": "pp", "data_parallel_size": "dp"}


class EngineConfig(NamedTuple):
    """None where it does not say."""

    model: str | None = None
    device: str | None = None
    sizes: Mapping[str, int] = {}  # tp, pp, dp
    enforce_eager: bool | None = None
    speculative: bool = False


def from_engine(text: str) -> EngineConfig:
    """`model='x', speculative_config=None, …, tensor_parallel_size=8, …` of any version."""
    eager = _CONFIG_EAGER.search(text)
    device = _CONFIG_DEVICE.search(text)
    return EngineConfig(
        model=_model(text),
        device=device[1] if device else None,
        sizes={_SHORT[name]: int(value) for name, value in _CONFIG_INT.findall(text)},
        enforce_eager=eager[1] == "True" if eager else None,
        speculative=_CONFIG_DRAFT.search(text) is not None,
    )


@lru_cache(maxsize=8)
def from_arguments(text: str) -> EngineConfig:
    """`Namespace(a=1, …)` or `{'a': 1, …}`; the latter only names what differs from the default."""
    partial = text.lstrip().startswith("{")
    eager = re.search(r"['\"]?\benforce_eager['\"]?\s*[=:]\s*(True|False)", text)
    sizes = re.findall(
        r"\b(tensor_parallel_size|pipeline_parallel_size|data_parallel_size)['\"]?\s*+[=:]\s*+(\d{1,9})(?!\d)",
        text,
    )
    model = re.search(r"\bmodel(?:_tag)?['\"]?\s*[=:]\s*['\"]([^'\"]+)['\"]", text)
    device = re.search(r"\bdevice['\"]?\s*[=:]\s*['\"](?!auto)(\w+)['\"]", text)
    return EngineConfig(
        model=model[1] if model else None,
        device=device[1] if device else None,
        sizes={_SHORT[name]: int(value) for name, value in sizes},
        enforce_eager=eager[1] == "True" if eager else (False if partial else None),
        speculative=re.search(r"\bspeculative_(?:config|model)['\"]?\s*[=:]\s*(?!None\b)\S", text)
        is not None,
    )


def combined(configs: Collection[EngineConfig]) -> EngineConfig | None:
    """Of several engines of one server: the first one's model and device, the largest sizes."""
    if len(configs) <= 1:
        return next(iter(configs), None)
    return EngineConfig(
        model=next((config.model for config in configs if config.model), None),
        device=next((config.device for config in configs if config.device), None),
        sizes={
            name: max(config.sizes.get(name, 1) for config in configs)
            for name in {name for config in configs for name in config.sizes}
        },
        enforce_eager=next((c.enforce_eager for c in configs if c.enforce_eager is not None), None),
        speculative=any(config.speculative for config in configs),
    )


def _model(text: str) -> str | None:
    found = _CONFIG_MODEL.search(text)
    return next((part for part in found.groups() if part is not None), None) if found else None
