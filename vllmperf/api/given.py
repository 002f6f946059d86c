"""What several of the functions are given: a target, settings by name, and where progress goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from vllmperf import datasets
from vllmperf.errors import UsageError
from vllmperf.loadgen.task import SETTINGS, Task
from vllmperf.plan import Plan
from vllmperf.plan.settings import ALIASES, NEGATED, OWN_LENGTHS, unknown

if TYPE_CHECKING:
    from types import FunctionType

    from vllmperf.sim import Server


Lines = bool | Callable[[str], None]
"""Progress: True for lines on stderr, or a function that takes each of them."""


HOST, PORT = "127.0.0.1", 8000
READY = "ready_check_timeout_sec"
P = ParamSpec("P")
R = TypeVar("R")


def task_of(
    target: str | Server | Sequence[str | Server] | Plan | Task | None,
    settings: Mapping[str, object],
) -> Task:
    """What to do at a target under these settings, once its server is ready."""
    check_names(settings)
    given, wait_s = settled(target, settings)
    base = target if isinstance(target, Plan) else None
    task = target.replace(**given) if isinstance(target, Task) else Task.of(given, base)
    wait_until_ready(task, wait_s)
    return task


def settled(
    target: str | Server | Sequence[str | Server] | Plan | Task | None, settings: Mapping[str, object]
) -> tuple[dict[str, object], float]:
    """The settings with the target's base_url among them, and how long to wait until the server is ready, in seconds."""
    given = dict(settings)
    wait_s = _seconds(given.pop(READY, 0))
    host, port = given.pop("host", None), given.pop("port", None)
    if target is not None and not isinstance(target, Plan | Task):
        given = {"base_url": urls_of(target), **given}
    elif (host, port) != (None, None):
        given = {"base_url": url_of(host, port), **given}
    return given, wait_s


def check_names(settings: Iterable[str], own: Iterable[str] = ()) -> None:
    """Raises SettingError, which suggests the nearest name, for one that is no setting of a run. own: keywords of the function,
    which may have been meant."""
    known = {*SETTINGS, *ALIASES, *NEGATED, *OWN_LENGTHS, *datasets.options(), "host", "port", READY}
    for name in settings:
        if name not in known:
            raise unknown(name, sorted({*known, *own}))


def suggests_names(function: Callable[P, R]) -> Callable[P, R]:
    """For a function of fixed keywords: an unknown one is a SettingError, which suggests the nearest name."""
    code = cast("FunctionType", function).__code__
    known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @wraps(function)
    def checked(*args: P.args, **given: P.kwargs) -> R:
        for name in given:
            if name not in known:
                raise unknown(name, known)
        return function(*args, **given)

    return checked


def urls_of(target: str | Server | Sequence[str | Server]) -> str | list[str]:
    """The base URL of a server, or of each of several."""
    if isinstance(target, str):
        return target
    if isinstance(target, Sequence):
        return [one if isinstance(one, str) else one.url for one in target]
    return target.url


def url_of(host: object = None, port: object = None) -> str:
    """Of what --host and --port say."""
    host = str(host or HOST)
    return f"http://{f'[{host}]' if ':' in host else host}:{port or PORT}"


def wait_until_ready(task: Task, timeout_s: float) -> None:
    """Until each server of a task answers. Raises TargetError when one does not within that time; 0 does not ask."""
    if timeout_s and task.plan.target.simulator is None:
        from vllmperf.target import client_of, wait_ready

        for target in task.plan.target.each:
            wait_ready(client_of(target, task.credentials), timeout_s)


def _seconds(given: object) -> float:
    from vllmperf.plan.checks import seconds_of

    found = float(given) if isinstance(given, int | float) else seconds_of(str(given))
    if found is None:
        raise UsageError(f"{READY} is {given!r}: give seconds, or a text like 30s or 5m")
    return found


def lines_of(progress: Lines) -> Callable[[str], None]:
    if callable(progress):
        return progress
    return (lambda line: print(line, file=sys.stderr)) if progress else (lambda _: None)


def check_scipy(what: str) -> None:
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise UsageError(f"{what} needs scipy: pip install 'vllmperf[model]'") from None
