"""A run that is asked for: which servers it talks to, which files it reads, how much it does, what it would write down."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vllmperf import hub
from vllmperf.api.stress_runs import stress_task
from vllmperf.loadgen.task import Task
from vllmperf.plan import checks
from vllmperf.plan.credentials import is_secret
from vllmperf.reach import NotAllowedError
from vllmperf.scrape.power import Power
from vllmperf.service import payload as payloads
from vllmperf.service.errors import RefusedError
from vllmperf.service.guard.body import check_combinations
from vllmperf.service.guard.settings import Guard
from vllmperf.service.request import BENCH, CAPACITY, FIT, START_LOAD, STRESS, SWEEP, Request, split, task_of
from vllmperf.service.store import LOG, OURS, REPORT, RESULT, RUN
from vllmperf.sweeps.definition import definition_of
from vllmperf.sweeps.setups.setup import KINDS
from vllmperf.sweeps.setups.simulator import Simulator

Found = Iterator[tuple[str, Any]]
"""Settings of a run by name, one after the other; of a sweep the same names come once for each of its runs."""

PATHS = ("dataset_path", "tokenizer", "cacert", "arrival_file")
SHOWN_WORDS = ("headers", "header", "api_key")
"""Where secrets may stand: the service itself keeps them out of what it writes."""
USER_IN_URL = re.compile(r"://[^/?#\s]*@")
SECRET_IN_QUERY = re.compile(
    r"[?&][^=&#\s]*(?:key|token(?!s)|secret|password|credential|signature)[^=&#\s]*=", re.IGNORECASE
)
RESERVED = frozenset((*OURS, LOG, REPORT, RESULT, RUN))
LONGEST_LABEL, LONGEST_PATH = 200, 4096
LARGEST = 2**64
MOST_THREADS, MOST_CHOICES, MOST_RATE = 64, 128, 1e6
FILES_OF_SIMULATOR = ("simulator.truth", "simulator.startup", "simulator.startup_log")
TIMES = ("duration", "budget", "think_time", "grace_period", "ready_check_timeout_sec")
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
KEY_FILE = "api_key_file"
POWER = "power"
STARTS = KINDS.keys() - {"simulator", "url"}
"""Kinds of set-ups that start something."""
HERE = ("127.0.0.1", "localhost", "::1")


def check_request(asked: Request, guard: Guard) -> None:
    """Raises RefusedError: 403 for servers and files that are not allowed, 400 for what is too much, with the field. It looks
    names up: not for the event loop."""
    _check_label(asked.label)
    _check_words(asked.content)
    for url in asked.urls:
        if asked.kind != SWEEP and "?" in url:  # a sweep has URLs of metrics, too
            raise RefusedError(400, "base_url must not hold ?: the endpoint comes after it", "base_url")
        _check_target(url, guard)
    for name, value in _settings(asked):
        _check_setting(name, value, guard)


def asked_for(body: Any, read: Callable[[Any], Request], guard: Guard) -> Request:
    """The run that a body asks for, checked. Raises RefusedError, UsageError."""
    check_combinations(body, guard.limits)
    _check_unread(body)
    try:
        asked = read(body)
        check_request(asked, guard)
    except UNREADABLE as error:  # what argparse and others do not catch of a value that nobody thought of
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RefusedError(400, f"the request cannot be read ({words}): GET /schema has the types") from None
    return asked


# ---- before anything of it is read ----


def _check_unread(body: Any) -> None:
    """What would make reading the request open a file: a key file, the configuration of a server that a set-up starts; and
    numbers that are too large to be counted with."""
    for name, value in _fields(body):
        if isinstance(value, int) and abs(value) > LARGEST:
            raise RefusedError(400, f"{name} has {len(str(value))} digits: that is too large", name)
    if any(name.replace("-", "_") == KEY_FILE for name, _ in _fields(body)):
        raise RefusedError(400, f"{KEY_FILE} is a file of the service's machine: give api_key", KEY_FILE)
    sweep = body.get(SWEEP) if isinstance(body, Mapping) else None
    setups = sweep.get("setups") if isinstance(sweep, Mapping) else None
    for number, setup in enumerate(setups if isinstance(setups, list) else []):
        starts = isinstance(setup, Mapping) and STARTS & setup.keys()
        if starts:
            raise RefusedError(
                400,
                f"setups[{number}] starts a program ({min(starts)}): the service takes url and simulator",
                "setups",
            )


def _fields(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All fields in a value, by name; entries of a list have the name of the list."""
    yield name, value
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _fields(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from _fields(one, name)


# ---- what it says ----


def _check_label(label: str | None) -> None:
    if label is not None and not (label.isprintable() and len(label) <= LONGEST_LABEL):
        raise RefusedError(400, f"label must be at most {LONGEST_LABEL} printable characters", "label")


def _check_words(content: Mapping[str, Any]) -> None:
    """Secrets in places from where they would be written down."""
    for name, value in content.items():
        for path, each in _texts(value, name):
            if USER_IN_URL.search(each):
                raise RefusedError(
                    400, f"{path} must not hold a user name or password: give a key or a header instead", name
                )
            if SECRET_IN_QUERY.search(each):
                raise RefusedError(
                    400,
                    f"{path} has a secret after the ?, which would be written down: send it as a header",
                    name,
                )
            key = path.rpartition(".")[2] if "." in path else each.partition("=")[0]
            is_pair = "." in path or (name == "metadata" and "=" in each)
            if name not in SHOWN_WORDS and is_pair and each != payloads.HIDDEN and _is_secret(key):
                raise RefusedError(
                    400, f"{path} looks like a secret and would be written down: send it as a header", name
                )


def _is_secret(key: str) -> bool:
    return is_secret(key.replace("_", "-"))


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """All texts in a value, with the path to each."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _texts(one, f"{path}.{key}")
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, path)


# ---- where it goes ----


def _check_target(url: str, guard: Guard, field: str = "base_url") -> None:
    if not _is_sound(url):
        raise RefusedError(400, f"{field} has no sound URL: give http://HOST:PORT or https://HOST", field)
    if guard.reach is None:
        return
    try:
        guard.reach.check_url(url)
    except NotAllowedError as error:
        raise RefusedError(403, str(error), field) from None


def _is_sound(url: str) -> bool:
    """Everybody who reads it must find the same host in it: plain ASCII, no escapes in the host, a port that there is."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    is_plain = checks.is_plain(url) and not set(url) & set(" \\#")
    return is_plain and parts.scheme in ("http", "https") and bool(host) and "%" not in host and port != 0


# ---- its settings ----


def _settings(asked: Request) -> Found:
    """Raises RefusedError for what can only be seen in the whole."""
    content = asked.content
    if asked.kind == START_LOAD:
        yield from _of_payload(content)
    elif asked.kind == SWEEP:
        yield from _of_sweep(content)
    elif asked.kind in (FIT, CAPACITY):
        plan, own = split(asked.kind, content)
        yield from own.items()
        yield from _of_task(task_of({**_without_secrets(plan), "request_rate": 1.0, "duration": 1.0}))
    elif asked.kind == BENCH:
        yield from _of_task(task_of(_without_secrets(content)))
    elif asked.kind == STRESS:
        found = _of_task(stress_task(_without_secrets(content))[0])
        # the text that the preset finds is where the service's own image has it
        yield from (one for one in found if one[0] != "dataset_path" or "dataset_path" in content)
    else:
        raise RefusedError(400, f"kind {asked.kind} is not taken", "kind")


def _without_secrets(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in SHOWN_WORDS}


def _of_task(task: Task) -> Found:
    yield from task.plan.flat().items()
    yield from task.knobs.to_dict().items()
    yield from ((name, value) for name, value in task.plan.workload.dataset_options.items())
    yield "tokenizer", task.plan.tokenizer
    yield from _of_simulator(task.plan.target.simulator)


def _of_simulator(given: Mapping[str, Any] | None) -> Found:
    for name, value in (given or {}).items():
        yield f"simulator.{name}", value


def _of_sweep(content: Mapping[str, Any]) -> Found:
    found = definition_of(content)
    for setup in found.setups:
        yield "ready_timeout", setup.ready_timeout
        if isinstance(setup.how, Simulator):
            yield from _of_simulator(setup.how.simulator)
        for load in found.loads:
            yield from _of_task(setup.draft({**found.plan, **load}))


def _of_payload(content: Mapping[str, Any]) -> Found:
    load = payloads.checked(content)
    given = vars(load.args)
    yield from given.items()
    if not given.get("tokenizer") and not given.get("skip_tokenizer_init"):
        yield "tokenizer", given.get("model")


# ---- one setting ----


def _check_setting(name: str, value: Any, guard: Guard) -> None:
    if value is None:
        return
    own = name.removeprefix("simulator.")
    if name in FILES_OF_SIMULATOR and value:
        raise RefusedError(
            400, f"{name} is of vllmperf sim alone, it writes files: leave it out", "simulator"
        )
    if name == "simulator.host" and value not in HERE:
        raise RefusedError(
            400, "simulator.host must be 127.0.0.1: the service opens no port to others", "simulator"
        )
    if name == "endpoint" and not str(value).startswith("/"):
        raise RefusedError(400, "endpoint must begin with /", "endpoint")
    if name == "result_filename":
        check_result_name(str(value))
    if name == POWER:
        _check_power(Power.of(str(value)), guard)
    if name in PATHS and isinstance(value, str) and not (name == "tokenizer" and value == "none"):
        check_path(name, value, guard)
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_amount(own, value, guard)


def _check_power(source: Power, guard: Guard) -> None:
    """The worker reads the file, and asks the URL."""
    if source.kind == "file":
        check_path(POWER, source.where, guard)
    else:
        _check_target(source.where, guard, POWER)


def check_result_name(name: str) -> None:
    """A file of the run's folder that is none of ours. Raises RefusedError."""
    is_plain = name.isprintable() and 0 < len(name) <= 200 and name[0] not in ".~" and "/" not in name
    if is_plain and name not in RESERVED and name.endswith(".json"):
        return
    raise RefusedError(
        400, "result_filename must be a plain name that ends in .json and is none of the run's own files",
        "result_filename",
    )  # fmt: skip


def check_path(field: str, given: str, guard: Guard) -> None:
    """Within the data folder once all symlinks are followed, or the name of something on the hub. Raises RefusedError."""
    link = hub.LINK.fullmatch(given)
    if link is not None and ".." not in given.split("/"):
        return
    if "://" in given:
        raise RefusedError(400, f"{field} must be a path or a name of the Hugging Face hub", field)
    if not is_inside(given, guard.data):
        raise RefusedError(
            403,
            f"{field} {given[:200]!r} is outside of the service's data folder: put it there (--data)",
            field,
        )
    path = guard.data / given
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading from a pipe may never end
        raise RefusedError(400, f"{field} {given[:200]!r} is no file", field)


def is_inside(given: str, data: Path) -> bool:
    """Whether a path, relative to the data folder, is in it once all symlinks are followed."""
    if "\0" in given or len(given) > LONGEST_PATH:
        return False
    try:
        root = os.path.realpath(data)
        found = os.path.realpath(Path(root) / given)
    except (OSError, ValueError):
        return False
    return found == root or found.startswith(root.rstrip(os.sep) + os.sep)


def _check_amount(name: str, value: float, guard: Guard) -> None:
    most = _most(name, guard)
    if most is not None and value > most and math.isfinite(value):
        raise RefusedError(400, f"{name} must be at most {most:g} (got {value:g})", name)


def _most(name: str, guard: Guard) -> float | None:
    """The most that the service takes of a setting; None: what the setting itself takes."""
    limits = guard.limits
    if name == "num_prompts":
        return limits.num_prompts
    if name in ("max_concurrency", "warm_connections", "num_warmups"):
        return limits.concurrency
    if name in TIMES or name.endswith("_timeout"):
        return limits.duration_s
    if name in ("request_rate", "ramp_up_start_rps", "ramp_up_end_rps", "probe_request_rate"):
        return MOST_RATE
    if name.endswith(("_len", "_size", "_stdev", "_min", "_max")) or name in (
        "num_prefixes",
        "multi_turn_turns",
    ):
        return limits.tokens
    if name in ("n", "best_of", "logprobs", "random_batch_size"):
        return MOST_CHOICES
    return MOST_THREADS if name == "threads" else None
