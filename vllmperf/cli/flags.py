"""Flags that are settings: what they are called, how their values are written, and what the help says of defaults."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import textwrap
from typing import Any

from vllmperf.loadgen.notes import Notes
from vllmperf.plan import Limits, Load, Target, Workload
from vllmperf.plan.checks import seconds_of
from vllmperf.plan.knobs import Knobs

# ---- values ----


def duration(text: str) -> float:
    """Seconds: 30, 30s, 500ms, 1.5m, 1h30m."""
    found = seconds_of(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 30, 30s, 10m or 1h30m")
    return found


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE"""
    name, mark, value = text.partition("=")
    if not mark or not name.strip():
        raise argparse.ArgumentTypeError(f"{text.split('=')[0]!r} is not NAME=VALUE")
    return name.strip(), value.strip()


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object")
    return value


class Pairs(argparse.Action):
    """NAME=VALUE, repeatable, gathered in a dict."""

    def __call__(
        self, _parser: object, namespace: argparse.Namespace, values: Any, _option: object = None
    ) -> None:
        setattr(namespace, self.dest, {**getattr(namespace, self.dest, {}), **dict(values)})


# ---- help ----


DEFAULTS = {
    each.name: each.default
    for part in (Target, Workload, Load, Limits, Knobs, Notes)
    for each in dataclasses.fields(part)
}
"""Of the settings: arguments that are not given do not show up in the parsed ones, and the plan says what holds then."""
UNSAID: tuple[object, ...] = (None, False, True, (), {}, [])


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Names the defaults that say something: no None, no False, no empty list. Breaks no line within the name of a flag."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(f"{indent}{line}" for line in self._split_lines(text, width - len(indent)))

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default, text = action.default, action.help or ""
        if default is argparse.SUPPRESS:
            default = DEFAULTS.get(action.dest)
        if default in UNSAID or "(default" in text:
            return action.help
        return f"{text} (default: {f'{default:g}' if isinstance(default, float) else default})"


def settings(option: Any) -> Any:
    """The same for flags that are settings: what is not given is not there."""
    return functools.partial(option, default=argparse.SUPPRESS)


def given(args: argparse.Namespace, known: frozenset[str]) -> dict[str, Any]:
    """The settings that were given."""
    return {name: value for name, value in vars(args).items() if name in known}
