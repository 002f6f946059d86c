"""Stress runs: hours of load from a preset that fits any model, and that every setting may change; resumed by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import datasets
from vllmperf.api.runs import finish_run, make_run, tell_interval
from vllmperf.errors import SettingError
from vllmperf.loadgen.allocator import give_back_large_blocks
from vllmperf.loadgen.task import SETTINGS, Task
from vllmperf.plan import Plan, settings
from vllmperf.plan.load import HAVE_TIMES

if TYPE_CHECKING:
    from vllmperf.api.rolling_uploads import RollingUploads
    from vllmperf.bucket.place import Place
    from vllmperf.loadgen.progress import Snapshot
    from vllmperf.loadgen.rolling import Tell
    from vllmperf.metrics.rolling import Interval
    from vllmperf.run import Run
    from vllmperf.sim import Server

SONNET = "sonnet"
PRESET: Mapping[str, object] = {
    "num_prompts": 500_000,
    "request_rate": 12.0,
    "dataset_name": SONNET,
    "input_len": 512,
    "prefix_len": 128,
    "output_len": 2,
    "keep_gaps": "sample",
    "report_interval": 60.0,
    "on_server_loss": "wait",
}
"""Prefill-heavy prompts for 11.6 h, which bring GPUs close to their power limit. Rate and prompts are those that the Helm chart
of vLLM's benchmark names for H100; for H200 with bf16 it names 10 requests/s."""
RECORD = "stress.vllmperf"
TEXTS = ("app/sonnet.txt", "sonnet.txt", "/app/sonnet.txt", "/opt/vllmperf/app/sonnet.txt")
"""Where the text of the data set sonnet is looked for: our image brings the first one."""
NO_TEXT = "there is no text for the data set sonnet (--dataset-path): made-up prompts of the same lengths take its place"


def stress(
    target: str | Server | Sequence[str | Server] | Plan | None = None,
    /,
    *,
    record: str | Path = RECORD,
    progress: bool | Callable[[Snapshot], None] = False,
    **given: object,
) -> Run:
    """Load a server for hours and give the run: 500,000 prefill-heavy prompts at 12 requests/s, unless settings say otherwise.

    They are those of bench(), and override the preset. record: the run file. When it is there already, the run in it goes on
    where it stopped; the settings must be those of its plan. Of a run that is complete there is nothing left to do.

    >>> import tempfile
    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server, tempfile.TemporaryDirectory() as folder:
    ...     run = vp.stress(server, record=folder + "/run", num_prompts=20, request_rate=100, dataset_name="random")
    ...     run.summary["requests"]["completed"], run.summary["plan"]["input_len"]
    (20, 512)
    """
    from vllmperf.api.given import check_names, settled, wait_until_ready

    check_names(given)
    settings, wait_s = settled(target, given)
    task = Task.of(settings, target) if isinstance(target, Plan) else stress_task(settings)[0]
    wait_until_ready(task, wait_s)
    return carry_out(task, Path(record), progress)


def stress_task(given: Mapping[str, Any]) -> tuple[Task, list[str]]:
    """The task of these settings and, where they say nothing, of the preset; and what people should know of it."""
    names = {"dataset_name", "dataset"} & given.keys()
    named = settings.named({**({} if names else {"dataset_name": SONNET}), **given}, SETTINGS)
    found, notes = with_preset(named, has_dataset=bool(names))
    return Task.of(found), notes


def with_preset(given: Mapping[str, Any], has_dataset: bool) -> tuple[dict[str, Any], list[str]]:
    """Settings under their own names, with the preset's where they fit and nothing is given. has_dataset: which data set is no
    choice of the preset."""
    found: dict[str, Any] = {**PRESET, **given}
    _settle_load(found, given)
    if has_dataset or given.get("dataset_path"):
        _settle_lengths(found, given)
        return found, []
    path = next((path for path in TEXTS if Path(path).is_file()), None)
    if path is not None:
        return {**found, "dataset_path": path}, []
    # random puts its prefix before the prompt; sonnet's is a part of it
    prefix = int(found["prefix_len"])
    return {**found, "dataset_name": "random", "input_len": max(int(found["input_len"]) - prefix, 1)}, [
        NO_TEXT
    ]


def _settle_lengths(found: dict[str, Any], given: Mapping[str, Any]) -> None:
    """A data set has the preset's lengths where they are its own to choose."""
    dataset = datasets.table().get(str(found["dataset_name"]))
    own = dataset.own_lengths if dataset is not None else ()
    for kind in ("input", "prefix", "output"):
        if kind not in own and f"{kind}_len" not in given:
            del found[f"{kind}_len"]
    if given.get("prefix_hit_rate") is not None and "prefix_len" not in given:
        found.pop("prefix_len", None)


def _settle_load(found: dict[str, Any], given: Mapping[str, Any]) -> None:
    if given.get("arrival") in HAVE_TIMES and "request_rate" not in given:
        del found["request_rate"]
    if given.get("duration") is not None and "num_prompts" not in given:
        del found["num_prompts"]


def carry_out(
    task: Task,
    record: Path,
    progress: bool | Callable[[Snapshot], None] = False,
    place: Place | None = None,
    **listeners: Any,
) -> Run:
    """Make the run, or carry out what is left of the one in its file. place: in a bucket, for what the run did so far
    (rolling_uploads). listeners: those of make_run and finish_run."""
    from vllmperf.run import Run

    is_new = not has_begun(record)
    if not is_new and is_complete(record, task):
        return Run(record)
    give_back_large_blocks()
    if place is None:
        return _carried_out(is_new, task, record, progress, **listeners)
    from vllmperf.api.rolling_uploads import RollingUploads

    with RollingUploads(record, place) as uploads:
        run = _carried_out(is_new, task, record, progress, tell=told_to(uploads), **listeners)
        uploads.ended(run)
        return run


def _carried_out(
    is_new: bool,
    task: Task,
    record: Path,
    progress: bool | Callable[[Snapshot], None],
    **listeners: Any,
) -> Run:
    from vllmperf.record.unfinished import unfinished

    if is_new:
        return make_run(task, record, progress, **listeners)
    return finish_run(task, unfinished(record), progress, **listeners)


def is_complete(record: Path, task: Task) -> bool:
    """Whether the run in this file has nothing left to do. Raises SettingError when it has another plan, or still goes on."""
    from vllmperf.loadgen.rest import check_plan
    from vllmperf.record.reader import header

    there = header(record)
    check_plan(there, task.plan, "{record} {path}")
    if there.state == "running":
        raise SettingError("{record} {path}: this run goes on in another process: wait for it", path=record)
    return there.state == "finished"


def told_to(uploads: RollingUploads) -> Tell:
    """A line for people, and the same for the bucket."""

    def tell(interval: Interval) -> None:
        tell_interval(interval)
        uploads(interval)

    return tell


def has_begun(record: Path) -> bool:
    """Whether a run is in this file; one that was ended before it began left an empty file at most."""
    return record.is_file() and record.stat().st_size > 0
