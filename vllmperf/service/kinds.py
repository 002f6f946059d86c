"""What a worker does for each kind of run: the calls of the command line, with results in the run's folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import api
from vllmperf.exit_codes import FAILED, INTERRUPTED, OK
from vllmperf.scrape.power import Power
from vllmperf.service import payload as payloads
from vllmperf.service.jobs import RUNNING, WAITING
from vllmperf.service.live import Live, Past, Say
from vllmperf.service.power import PowerWatch
from vllmperf.service.request import BENCH, CAPACITY, FIT, START_LOAD, STRESS, SWEEP, split, task_of, whole
from vllmperf.service.rows import rows_of
from vllmperf.service.store import OURS, REPORT, RESULT, RUN
from vllmperf.target import AnswerError, CertificateError, Client, client_of
from vllmperf.whole_file import write_whole

if TYPE_CHECKING:
    from vllmperf.loadgen.task import Task
    from vllmperf.run import Run

ASK_EVERY_S = 1.0
NOT_READY = (0, 502, 503, 504)
"""What a server answers that is about to be there; 0: nobody answered."""


@dataclass
class Outcome:
    """How a run ended. result: the file of its figures."""

    exit_code: int | None = OK
    error: str | None = None
    result: str | None = None
    verdict: Mapping[str, Any] | None = None
    headline: Mapping[str, Any] | None = None

    def told(self) -> dict[str, Any]:
        """As the event `end` has it."""
        return dict(vars(self))


@dataclass(frozen=True)
class Work:
    """One run to be carried out. ready_timeout_s: how long a server may take to be there. over: called when the load is over
    and its report is still to be written."""

    folder: Path
    request: Mapping[str, Any]
    secrets: Mapping[str, Any]
    kind: str
    say: Say
    ready_timeout_s: float
    over: Callable[[], object] = lambda: None

    @property
    def content(self) -> dict[str, Any]:
        return whole(self.request, self.secrets)

    def note(self, line: str) -> None:
        """What a run of several says of where it is."""
        print(line, flush=True)
        self.say({"event": "phase", "phase": RUNNING, "note": line})

    def wait_for(self, *clients: Client) -> None:
        """Wait until each server answers. Raises the last AnswerError when one does not in time."""
        since = datetime.now().astimezone()
        for client in clients:
            deadline = time.monotonic() + self.ready_timeout_s
            while (error := _not_ready(client)) is not None:
                if time.monotonic() > deadline:
                    raise error
                note = f"{client.name} to be ready, since {since:%H:%M:%S}: {error.why}"
                self.say({"event": "phase", "phase": WAITING, "note": f"waiting for {note}"})
                time.sleep(ASK_EVERY_S)
        self.say({"event": "phase", "phase": RUNNING, "note": ""})


def _not_ready(client: Client) -> AnswerError | None:
    """What speaks against it; any answer but one of a proxy or a server that still starts is one."""
    try:
        client.get("/v1/models")
    except CertificateError:
        raise
    except AnswerError as error:
        return error if error.status in NOT_READY else None
    return None


# ---- /start-load ----


def start_load(work: Work) -> Outcome:
    """vLLM's client, with its file and ours in the run's folder."""
    from vllmperf.dropin.benchmark_serving.command import main
    from vllmperf.run import open_run

    load = payloads.checked(work.content)
    work.wait_for(Client(load.base_url))
    own = ["--disable-tqdm", "--save-result", f"--result-dir={work.folder}", f"--record={work.folder / RUN}"]
    code = main([*load.words, *own], watch=Live(work.say).watch)
    run = open_run(work.folder / RUN)
    outcome = _reported(run, work)
    outcome.exit_code = code
    outcome.result = _result_of(work.folder)
    return outcome


def _result_of(folder: Path) -> str | None:
    """The file that vLLM's client wrote, under the name that it gives."""
    found = [path.name for path in folder.glob("*.json") if path.name not in OURS]
    return next((name for name in sorted(found) if not name.endswith(".pytorch.json")), None)


# ---- plans ----


def bench(work: Work) -> Outcome:
    """A plan, or what is left of it."""
    from vllmperf.formats.vllm_result import save
    from vllmperf.record.unfinished import unfinished
    from vllmperf.run import open_run

    task, path = task_of(work.content), work.folder / RUN
    if task.plan.target.simulator is None:
        work.wait_for(*(client_of(one, task.credentials) for one in task.plan.target.each))
    if not path.exists():
        run = api.make_run(task, path, watch=_live(work, task).watch, notice=work.note)
    elif _is_complete(path, task.plan.load.num_prompts):
        run = open_run(path)
    else:
        run = api.finish_run(task, unfinished(path), watch=_live(work, task).watch, notice=work.note)
    save(run, work.folder, None)
    return _reported(run, work, RESULT)


def stress(work: Work) -> Outcome:
    """A stress run, or what is left of it."""
    from vllmperf.api.stress_runs import carry_out, stress_task
    from vllmperf.bucket.place import of_environment
    from vllmperf.formats.vllm_result import save

    task, notes = stress_task(work.content)
    for note in notes:
        work.note(note)
    place = of_environment()
    to = place and place / work.folder.name
    run = carry_out(task, work.folder / RUN, place=to, watch=_live(work, task).watch, notice=work.note)
    save(run, work.folder, None)
    return _reported(run, work, RESULT)


def _live(work: Work, task: Task) -> Live:
    """With the watts of the GPUs where the run's source of power tells what they draw now."""
    power = None if task.knobs.power is None else Power.of(task.knobs.power)
    if power is None or not power.is_live:
        return Live(work.say)
    return Live(work.say, PowerWatch(power.now, task.knobs.gpu_tdp))


def _is_complete(path: Path, asked: int | None) -> bool:
    from vllmperf.record.reader import header
    from vllmperf.record.unfinished import unfinished

    return header(path).state == "finished" or (asked is not None and unfinished(path).n_done >= asked)


def _reported(run: Run, work: Work, result: str | None = None) -> Outcome:
    """Writes the report, and the summary as `result`."""
    from vllmperf.report.html import page_of

    work.over()
    summary = run.summary
    if result:
        write_whole(work.folder / result, json.dumps(run.to_dict(), indent=1) + "\n")
    write_whole(work.folder / REPORT, page_of(run))
    ending, completed = summary["ending"], summary["requests"]["completed"]
    if run.recording.state == "interrupted" and ending is None:
        code, error = INTERRUPTED, None
    elif ending is not None:
        code, error = FAILED, ending["words"]
    else:
        code, error = (OK, None) if completed else (FAILED, "no request was completed")
    return Outcome(
        code,
        error,
        result,
        {name: summary["verdict"][name] for name in ("level", "reasons")},
        headline(summary),
    )


def headline(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures that stand in a list of runs."""
    requests, metrics = summary["requests"], summary["metrics"]
    outcomes = requests["outcomes"]
    latencies = {
        f"{name}_ms_{p}": (metrics.get(f"{name}_ms") or {}).get(p)
        for name in ("ttft", "itl")
        for p in ("p50", "p99")
    }
    return {
        "completed": requests["completed"],
        "failed": sum(n for name, n in outcomes.items() if name not in ("completed", "incomplete")),
        "requests_per_s": summary["throughput"]["requests_per_s"],
        "output_tokens_per_s": summary["throughput"]["output_tokens_per_s"],
        **latencies,
    }


# ---- many runs ----


def _live_of_several(work: Work) -> Live:
    """What an earlier worker has done of it counts."""
    return Live(work.say, several=Past.of(rows_of(work.folder)))


def sweep(work: Work) -> Outcome:
    """Every point of a sweep; one that was begun is completed."""
    from vllmperf.report.html import page
    from vllmperf.report.sweep import sheet

    watch = _live_of_several(work).watch
    found = api.sweep(work.content, output=work.folder / "sweep", progress=work.note, watch=watch)
    _write(work, found.to_dict(), page(sheet(found).fragment(), "vllmperf: sweep"))
    if found.interrupted:
        return Outcome(INTERRUPTED, None, RESULT)
    return Outcome(FAILED if found.failures else OK, "a set-up failed" if found.failures else None, RESULT)


def fit(work: Work) -> Outcome:
    """A replica's parameters."""
    from vllmperf.report.fit import sheet
    from vllmperf.report.html import page

    settings, own = split(FIT, work.content)
    task = task_of({**settings, "request_rate": 1.0, "duration": 1.0})
    work.wait_for(client_of(task.plan.target, task.credentials))
    found = api.fit(task, **own, progress=work.note, watch=_live_of_several(work).watch)
    _write(work, found.to_dict(), page(sheet(found).fragment(), "vllmperf: fit"))
    return Outcome(OK, None, RESULT)


def capacity(work: Work) -> Outcome:
    """The highest rate within a service level; a search that was begun goes on."""
    from vllmperf.report.capacity import sheet
    from vllmperf.report.html import page

    settings, own = split(CAPACITY, work.content)
    task = task_of({**settings, "request_rate": 1.0, "duration": 1.0})
    if task.plan.target.simulator is None:
        work.wait_for(client_of(task.plan.target, task.credentials))
    watch = _live_of_several(work).watch
    found = api.capacity(task, **own, output_dir=work.folder / "search", progress=work.note, watch=watch)
    _write(work, found.to_dict(), page(sheet(found).fragment(), "vllmperf: capacity"))
    return Outcome(OK, None, RESULT)


def _write(work: Work, result: object, report: str) -> None:
    write_whole(work.folder / RESULT, json.dumps(result, indent=1) + "\n")
    write_whole(work.folder / REPORT, report)


CARRY_OUT: Mapping[str, Callable[[Work], Outcome]] = {
    START_LOAD: start_load,
    BENCH: bench,
    SWEEP: sweep,
    FIT: fit,
    CAPACITY: capacity,
    STRESS: stress,
}
