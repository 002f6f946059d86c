"""One load over all replicas: each generator sends its share of the plan to the server beside it, all at the same time, and the
run files become one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from vllmperf.errors import TargetError, UsageError
from vllmperf.loadgen.share import share_of
from vllmperf.loadgen.task import SETTINGS, Task
from vllmperf.plan.settings import OWN_LENGTHS, nearest
from vllmperf.record import merge
from vllmperf.run import Run
from vllmperf.service import payload as payloads
from vllmperf.service.jobs import QUEUED, RUNNING
from vllmperf.service.peers import ASK_EVERY_S, Peer, has_ended
from vllmperf.service.request import BENCH, START_LOAD

BESIDE = ("localhost", "127.0.0.1", "::1")
"""As the host of a load: the server beside each generator."""
OF_THE_REPORT = frozenset({
    "host", "port", "profile", "save_result", "save_detailed", "append_result", "result_dir", "result_filename",
    "percentile_metrics", "metric_percentiles", "disable_tqdm", "endpoint_type",
})  # fmt: skip
"""Keys of a payload that say nothing of the load."""
LATE_S = 0.5
"""A share that begins so long after the first one is worth a word."""

Say = Callable[[str], object]


@dataclass(frozen=True)
class Load:
    """settings: of the plan, by name. base_url: of the server, as a generator sees it."""

    settings: Mapping[str, Any]
    base_url: str
    backend: str

    def at(self, peer: Peer) -> str:
        """The URL of the server that this generator loads."""
        parts = urlsplit(self.base_url)
        if parts.hostname not in BESIDE:
            return self.base_url
        port = f":{parts.port}" if parts.port else ""
        return urlunsplit(parts._replace(netloc=peer.host + port))

    def task(self, base_url: str, **more: Any) -> Task:
        return Task.of({**self.settings, "base_url": base_url, **more})


def load_of(body: Mapping[str, Any]) -> Load:
    """What a payload of /start-load asks for, or a body of POST /runs with a plan. Raises UsageError, which names the key."""
    kind = body.get("kind", START_LOAD)
    if kind == BENCH:
        return _of_plan(body.get("plan"))
    if kind != START_LOAD:
        raise UsageError(f"a {kind} is not split over replicas: give a payload of /start-load, or kind bench")
    given = {name: value for name, value in body.items() if name not in ("kind", "label")}
    if given.get(payloads.STRESS):
        raise UsageError("stress is not split over replicas: leave it out")
    checked = payloads.checked(given)
    settings = {
        name: value for name, value in given.items() if value is not None and name not in OF_THE_REPORT
    }
    settings.pop("base_url", None)
    for name in settings:
        _check_key(name)
    return Load(settings, checked.base_url, str(checked.args.backend))


def _of_plan(plan: Any) -> Load:
    if not isinstance(plan, Mapping):
        raise UsageError("plan must be an object of settings by name")
    settings = dict(plan)
    base_url = settings.pop("base_url", None)
    if not isinstance(base_url, str):
        raise UsageError(
            "plan.base_url is missing: http://localhost:8000 is the server beside each generator"
        )
    return Load(settings, base_url, str(settings.get("backend", "openai")))


def _check_key(name: str) -> None:
    known = SETTINGS | OWN_LENGTHS
    if name not in known:
        close = nearest(name, known)
        hint = (
            f": did you mean {close}?"
            if close
            else ": a load over several replicas does not know it, leave it out"
        )
        raise UsageError(f"no such key {name}{hint}")


@dataclass
class _Part:
    peer: Peer
    run_id: str
    run: dict[str, Any]


def aggregate(load: Load, peers: Sequence[Peer], folder: Path, start_in_s: float, say: Say) -> Run:
    """Carry a load out over these generators; run files, and the merged one, in the folder.

    Ctrl-C and SIGTERM end it at all of them, and what came is merged. Raises TargetError when a share is lost.
    """
    n = len(peers)
    if n < 2:
        raise UsageError(f"one load over several replicas needs at least two generators (got {n})")
    task = load.task(load.at(peers[0]), share=f"0/{n}")
    share_of(task)
    asked, start_at = task.plan.load.num_prompts, time.time() + start_in_s
    parts = _start(load, peers, start_at)
    try:
        _wait_for_start(parts, start_at)
        _follow(parts, asked, say)
    except KeyboardInterrupt:
        say("interrupted: what came is kept")
        _cancel(parts)
        _follow(parts, asked, say)
    except BaseException:
        _cancel(parts)
        raise
    return _merged(parts, folder, say)


def _start(load: Load, peers: Sequence[Peer], start_at: float) -> list[_Part]:
    parts: list[_Part] = []
    try:
        for i, peer in enumerate(peers):
            task = load.task(load.at(peer))
            plan = {**load.settings, "base_url": load.at(peer), "num_prompts": task.plan.load.num_prompts}
            own = {"share": f"{i}/{len(peers)}", "start_at": start_at}
            plan = {name: value for name, value in plan.items() if value is not None}
            run_id = peer.start({"kind": BENCH, "plan": {**plan, **own}, "label": own["share"]})
            parts.append(_Part(peer, run_id, {}))
    except BaseException:
        _cancel(parts)
        raise
    return parts


def _wait_for_start(parts: Sequence[_Part], start_at: float) -> None:
    """Raises TargetError when a generator has something else to do at that time."""
    while (left_s := start_at - time.time()) > 0:
        time.sleep(min(ASK_EVERY_S, left_s))
    for part in parts:
        part.run = part.peer.run(part.run_id)
        if part.run["phase"] == QUEUED:
            raise TargetError(f"{part.peer.url} is busy with other runs: try again when its queue is empty")


def _follow(parts: Sequence[_Part], asked: int | None, say: Say) -> None:
    """Until all have ended."""
    told = None
    while True:
        for part in parts:
            part.run = part.peer.run(part.run_id)
        words = _progress(parts, asked)
        if words != told:
            say(told := words)
        if all(has_ended(part.run) for part in parts):
            return
        time.sleep(ASK_EVERY_S)


def _progress(parts: Sequence[_Part], asked: int | None) -> str:
    done = sum(part.run.get("done") or 0 for part in parts)
    of = f" of {asked:,}" if asked else ""
    running = sum(part.run["phase"] == RUNNING for part in parts)
    waiting = next((part for part in parts if not has_ended(part.run) and part.run["phase"] != RUNNING), None)
    note = f"; {waiting.peer.url}: {waiting.run.get('note') or waiting.run['phase']}" if waiting else ""
    return f"{done:,}{of} requests, {running} of {len(parts)} generators at work{note}"


def _cancel(parts: Sequence[_Part]) -> None:
    for part in parts:
        part.peer.cancel(part.run_id)


def _merged(parts: Sequence[_Part], folder: Path, say: Say) -> Run:
    """Fetch the run files and merge them. Raises TargetError when one is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, part in enumerate(parts):
        path = folder / f"share-{i}.vllmperf"
        try:
            part.peer.fetch(part.run_id, path)
        except TargetError as error:
            raise TargetError(f"{error}{_why(part)}") from None
        paths.append(path)
    whole = folder / "run.vllmperf"
    with contextlib.suppress(FileNotFoundError):
        whole.unlink()
    run = Run(merge(paths, whole))
    for i, part in enumerate(run.recording.meta["parts"]):
        if part["shift_ns"] > LATE_S * 1e9:
            say(
                f"{parts[i].peer.url} began {part['shift_ns'] / 1e9:.1f} s after the first one: its requests came later"
            )
    return run


def _why(part: _Part) -> str:
    return f"; the run has {part.run['phase']}: {part.run['error']}" if part.run.get("error") else ""


def stem_of(load: Load, run: Run, now: datetime) -> str:
    """The name that vLLM's client gives its result, without .json."""
    from vllmperf.formats.vllm_file import file_name

    plan: Mapping[str, Any] = run.summary["plan"]
    name = file_name(
        load.backend,
        float(plan.get("request_rate") or "inf"),
        plan.get("max_concurrency"),
        str(plan.get("model")),
        f"{now:%Y%m%d-%H%M%S}",
    )
    return name.replace("/", "_").removesuffix(".json")
