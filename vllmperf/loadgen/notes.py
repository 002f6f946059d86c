"""What is written beside the plan for those who read the run: its name, its objectives, the rows of its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.errors import SettingError
from vllmperf.metrics.definitions import NAMES, OBJECTIVES
from vllmperf.plan import checks
from vllmperf.plan.checks import setting
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part


def _words(value: Any) -> list[Any]:
    """The words of "ttft,tpot" or "ttft tpot", or the items that are given."""
    if isinstance(value, str):
        return value.replace(",", " ").split()
    return list(value) if isinstance(value, Iterable) else [value]


def metrics(name: str, value: Any) -> tuple[str, ...]:
    """Names of metrics: a list, or a text like "ttft,tpot"."""
    check = checks.one_of(*NAMES)
    return tuple(check(name, word) for word in _words(value))


def percentiles(name: str, value: Any) -> tuple[float, ...]:
    """Numbers from 0 to 100: a list, or a text like "50,90,99"."""
    check = checks.number(least=0.0, most=100.0)
    return tuple(check(name, _number(word)) for word in _words(value))


def objectives(name: str, value: Any) -> JsonObject:
    """Limits in ms by metric: {"ttft": 200}, or texts like "ttft:200 tpot:50"."""
    check = checks.number(above=0.0)
    pairs = (
        value.items() if isinstance(value, Mapping) else [_objective(name, word) for word in _words(value)]
    )
    found = {}
    for metric, limit_ms in pairs:
        checks.one_of(*OBJECTIVES)(name, metric)
        found[metric] = check(name, _number(limit_ms))
    return JsonObject(found)


def _objective(name: str, word: Any) -> tuple[str, str]:
    metric, mark, limit = word.partition(":") if isinstance(word, str) else ("", "", "")
    if not mark or isinstance(_number(limit), str):
        raise checks.refused(name, "METRIC:MS, like ttft:200", word)
    return metric, limit


def _number(word: Any) -> Any:
    try:
        return float(word) if isinstance(word, str) else word
    except ValueError:
        return word


def texts(name: str, value: Any) -> JsonObject:
    """Texts by name."""
    found = checks.json_object(name, value)
    if not all(isinstance(text, str) for text in found.values()):
        raise SettingError("{" + name + "} must hold texts by name")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes(Part):
    """percentile_metrics, metric_percentiles: rows and columns of the table. goodput: objectives in ms by metric."""

    label: str | None = setting(None, checks.text)
    metadata: Mapping[str, str] = setting(JsonObject(), texts)
    goodput: Mapping[str, float] = setting(JsonObject(), objectives)
    percentile_metrics: tuple[str, ...] = setting((), metrics)
    metric_percentiles: tuple[float, ...] = setting((), percentiles)
