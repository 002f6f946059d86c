"""From words of the command line to Options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from vllmperf.dropin.llm_bench.flags import FLAGS, PROFILES, REFUSED, Flag
from vllmperf.dropin.llm_bench.options import OLD, Options
from vllmperf.errors import UsageError
from vllmperf.parser import Parser

PROGRAM = "llm_bench.py"


def parse(words: Sequence[str]) -> Options:
    """The options. Raises UsageError for unknown flags and for what does not go together."""
    profile, rest = _profile(words)
    flags = [flag for flag in FLAGS if profile in flag.profiles]
    _refuse(rest, profile)
    values = vars(_parser(profile, flags).parse_args(rest))
    if values["chat"] is None:
        values["chat"] = profile != OLD
    options = Options(profile=profile, **{**values, "header": tuple(values["header"] or ())})
    _check(options)
    return options


def _profile(words: Sequence[str]) -> tuple[str, list[str]]:
    parser = Parser(prog=PROGRAM, add_help=False)
    parser.add_argument("--profile", choices=PROFILES, default=OLD)
    known, rest = parser.parse_known_args(words)
    return known.profile, rest


def _refuse(words: Sequence[str], profile: str) -> None:
    taken = {name for flag in FLAGS if profile in flag.profiles for name in flag.names}
    others = {name: flag.profiles[0] for flag in FLAGS for name in flag.names if name not in taken}
    for name in (word.split("=")[0] for word in words):
        if name in REFUSED:
            raise UsageError(f"{name} is not supported: {REFUSED[name]}")
        if name in others and name.startswith("--"):
            raise UsageError(f"{name} is a flag of --profile {others[name]}, this is {profile}")


def _parser(profile: str, flags: Sequence[Flag]) -> Parser:
    parser = Parser(
        prog=PROGRAM,
        allow_abbrev=True,
        description=f"fw-ai's llm_bench as of {profile}, sent by the engine of vllmperf; "
        "no locust is needed. Definitions and differences: docs/llm_bench.md.",
        epilog="--profile 2024-10|2026-06 chooses the version (default 2024-10).",
    )
    for flag in flags:
        _add(parser, flag)
    return parser


def _add(parser: Parser, flag: Flag) -> None:
    if flag.kind is None:
        parser.add_argument(*flag.names, action="store_true", dest=flag.dest, help=flag.help)
        return
    if flag.kind is bool:
        parser.add_argument(
            *flag.names, action=argparse.BooleanOptionalAction, default=flag.default, help=flag.help
        )
        return
    text = os.environ.get(flag.env) if flag.env else None
    given = f"{flag.help} [{flag.env}]" if flag.env else flag.help
    more: dict[str, Any] = {"action": "append"} if flag.is_list else {}
    parser.add_argument(
        *flag.names,
        dest=flag.dest,
        type=_reader(flag),
        default=flag.default if text is None else text,
        choices=flag.choices,
        help=given,
        **more,
    )


def _reader(flag: Flag) -> Any:
    def read(text: str) -> Any:
        try:
            return flag.kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    read.__name__ = getattr(flag.kind, "__name__", "value")
    return read


def _check(options: Options) -> None:
    for name in ("users", "n"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} is {getattr(options, name)}: give a whole number above 0")
    for name in ("spawn_rate", "qps", "burst", "run_time"):
        value = getattr(options, name)
        if value is not None and not 0 < value <= 1e9:
            raise UsageError(f"--{name.replace('_', '-')} is {value:g}: give a number above 0")
    if options.qps is not None and options.burst is not None:
        raise UsageError("--qps and --burst exclude each other: remove one of them")
    if options.prompt_text is not None and options.prompt_file is not None:
        raise UsageError("--prompt-text and --prompt-file are the same thing: remove one of them")
    for header in options.header:
        if ":" not in header:
            raise UsageError(f"--header {header!r}: write NAME:VALUE")
