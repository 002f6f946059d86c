"""The arguments that say which server is asked, and how: the same for each command that asks one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vllmperf.cli.flags import Pairs, duration, pair, settings
from vllmperf.plan import BACKENDS


def add_target(option: Any) -> None:
    option(
        "--ready-check-timeout-sec",
        type=duration,
        default="0",
        metavar="T",
        help="wait at most this long for the server to answer before the run",
    )
    option = settings(option)
    option(
        "--base-url",
        metavar="URL",
        action=Several,
        help="server, like http://HOST:PORT (default: from --host and --port). Repeat the flag to send requests to several "
        "servers in turn; URL=2 gets twice as many",
    )
    option("--host", help="server's host (default: 127.0.0.1)")
    option("--port", type=int, help="server's port (default: 8000)")
    option(
        "--backend", choices=tuple(BACKENDS), help="API of the requests: completions (openai, vllm) or chat"
    )
    option("--endpoint", metavar="PATH", help="path of the requests (default: that of the backend)")
    option(
        "--model",
        metavar="NAME",
        help="model name in the requests (default: the first model that the server lists)",
    )
    add_access(option)


class Several(argparse.Action):
    """Given once a value, given more often a list of values."""

    def __call__(
        self, _parser: object, namespace: argparse.Namespace, value: Any, _option: object = None
    ) -> None:
        before = getattr(namespace, self.dest, [])
        found = [*(before if isinstance(before, list) else [before]), value]
        setattr(namespace, self.dest, found if len(found) > 1 else value)


def add_access(option: Any) -> None:
    """What a request carries, and which certificates are trusted."""
    option = settings(option)
    option(
        "--header",
        dest="headers",
        type=pair,
        nargs="+",
        action=Pairs,
        metavar="K=V",
        help="extra headers; repeatable. vllmperf never writes the values of headers that look secret",
    )
    option(
        "--api-key",
        metavar="KEY",
        help="bearer token (default: $OPENAI_API_KEY); vllmperf never writes it anywhere",
    )
    option("--api-key-file", type=Path, metavar="FILE", help="read the bearer token from this file")
    option("--insecure", action="store_true", help="accept any TLS certificate")
    option("--cacert", metavar="FILE", help="PEM file of trusted certificates")
