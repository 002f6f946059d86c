"""The parser of our command lines and of the tools that we replace, and what they call settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from vllmperf.errors import UsageError

FLAGS = {
    "headers": "--header",
    "simulator": "--sim",
    "prefix_len": "--random-prefix-len",
    "stream": "--no-stream",
}
"""Settings whose flags are called otherwise."""


def flag(setting: str) -> str:
    """What the command line calls a setting."""
    return FLAGS.get(setting) or f"--{setting.replace('_', '-')}"


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, without a page of usage before it. Its help begins with examples."""

    examples: Sequence[str] = ()

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def format_help(self) -> str:
        shown = "".join(f"  {example}\n" for example in self.examples)
        return (f"examples:\n{shown}\n" if shown else "") + super().format_help()

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")

    def flags_of(self, command: str | None) -> list[str]:
        """The long flags of a command."""
        groups = (
            action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)
        )
        parsers = [choices[command] for choices in groups if command in choices] or [self]
        return [flag for flag in parsers[0]._option_string_actions if flag.startswith("--")]
