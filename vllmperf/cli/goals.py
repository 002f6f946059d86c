"""--ttft and --tpot of fit, size and capacity, and --itl, as --tpot was called."""

from __future__ import annotations

import argparse
import sys
from typing import Any

NOTE = "--itl is now --tpot: the goal is for a request's mean time per output token, not for single gaps"


class _Renamed(argparse.Action):
    """Store as --tpot and say so."""

    def __call__(self, _: Any, namespace: argparse.Namespace, values: Any, __: Any = None) -> None:
        print(f"note: {NOTE}", file=sys.stderr)
        namespace.tpot = values


def add(option: Any, kinds: str, what: str) -> None:
    """kinds: the words that a goal may begin with; what: "goal" or "limit"."""
    option(
        "--ttft",
        metavar=f"[{kinds}:]MS",
        help=f"{what} for the time to first token, counted from when the request was due: 500 or p99:500 holds for 99 %% of the "
        f"requests, p95:500 for 95 %%{', mean:500 for the mean' if 'mean' in kinds else ''}",
    )
    option(
        "--tpot",
        metavar=f"[{kinds}:]MS",
        help=f"{what} for a request's mean time per output token, in the same spelling",
    )
    option("--itl", action=_Renamed, default=argparse.SUPPRESS, metavar="MS", help="the old name of --tpot")
