"""What several of the functions are given: a target, and where progress goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vllmperf.errors import UsageError
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan

if TYPE_CHECKING:
    from vllmperf.sim import Server


Lines = bool | Callable[[str], None]
"""Progress: True for lines on stderr, or a function that takes each of them."""


def task_of(
    target: str | Server | Sequence[str | Server] | Plan | Task | None, settings: dict[str, object]
) -> Task:
    """What to do at a target under these settings."""
    if isinstance(target, Task):
        return target.replace(**settings)
    base = target if isinstance(target, Plan) else None
    if target is not None and not isinstance(target, Plan):
        settings = {"base_url": _urls(target), **settings}
    return Task.of(settings, base)


def _urls(target: str | Server | Sequence[str | Server]) -> str | list[str]:
    if isinstance(target, str):
        return target
    if isinstance(target, Sequence):
        return [one if isinstance(one, str) else one.url for one in target]
    return target.url


def lines_of(progress: Lines) -> Callable[[str], None]:
    if callable(progress):
        return progress
    return (lambda line: print(line, file=sys.stderr)) if progress else (lambda _: None)


def check_scipy(what: str) -> None:
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise UsageError(f"{what} needs scipy: pip install 'vllmperf[model]'") from None
