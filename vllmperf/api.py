"""What notebooks and the command line both call: make a run, read a run."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from vllmperf.errors import UsageError
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan

if TYPE_CHECKING:
    from vllmperf.comparison.comparison import Comparison, Comparisons
    from vllmperf.comparison.figures import Figures
    from vllmperf.comparison.reconcile import Reconciled
    from vllmperf.loadgen.progress import Snapshot
    from vllmperf.loadgen.subscribers import Enough
    from vllmperf.metrics.checked import CheckedRun
    from vllmperf.model.capacity import Capacity
    from vllmperf.model.parameters import Fit
    from vllmperf.model.sizing import Sizing
    from vllmperf.own_error import SelfTest
    from vllmperf.record.unfinished import Unfinished
    from vllmperf.repeats import Repeats
    from vllmperf.report.startup import Starts
    from vllmperf.run import Run
    from vllmperf.sim import Server
    from vllmperf.starts.live.measurement import Measurement
    from vllmperf.starts.result import ParsedFile, Start


def bench(
    target: str | Server | Plan | None = None,
    /,
    *,
    record: str | Path | None = None,
    resume: str | Path | None = None,
    progress: bool | Callable[[Snapshot], None] = False,
    **settings: object,
) -> Run:
    """Load a server and give the run.

    target: base URL, like http://127.0.0.1:8000; a vllmperf.sim.Server; or a Plan, which the settings change. Without
    one: base_url=..., or sim=True or sim={"ttft_ms": 50} for a simulated server here.
    settings: those of Plan, named as the flags of `vllmperf bench`, of the engine (keep_text, threads, ...) and of the
    report (goodput, label, ...). url, rate, concurrency and dataset are short names. Durations are seconds, or texts like
    "30s"; request_rate is in requests/s (inf: as fast as max_concurrency allows); num_prompts is 1000 unless duration or
    an arrival file is given. The API key is that of OPENAI_API_KEY unless api_key is given.
    record: path of the run file (else a temporary one, see Run.save). resume: a run file whose run was broken off (killed,
    interrupted): send the requests that are not in it and add them to it; the settings must be those of its plan.
    progress: True for a live panel on stderr, or a function that takes load.progress.Snapshot.

    Raises UsageError for settings that are not known or do not fit together, TargetError when the server is not there.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     run = vp.bench(server, max_concurrency=2, num_prompts=6, output_len=4)
    >>> run.summary["requests"]["completed"], run.summary["tokens"]["output"]
    (6, 24)
    """
    if resume is None:
        return make_run(_task(target, settings), Path(record) if record else None, progress)
    if record is not None or target is not None:
        raise UsageError("resume goes on with the plan and the file of a run: give no target and no record")
    from vllmperf.record.plans import plan_of
    from vllmperf.record.unfinished import unfinished

    before = unfinished(resume)
    return finish_run(Task.of(settings, plan_of(before.meta)), before, progress)


def repeat(
    target: str | Server | Plan | None = None,
    k: int = 5,
    /,
    *,
    record: str | Path | None = None,
    progress: bool | Callable[[Snapshot], None] = False,
    **settings: object,
) -> Repeats:
    """Make the same run k times with different seeds (seed, seed + 1, …): each number's mean over the runs with the interval
    between runs, and whether the runs differ more than their own intervals allow.

    record: run.vllmperf gives run files run.1.vllmperf and so on. The rest as in bench().

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     repeats = vp.repeat(server, 2, max_concurrency=2, num_prompts=6, output_len=4)
    >>> len(repeats), repeats.ttft_mean.mean >= 5
    (2, True)
    """
    return make_repeats(_task(target, settings), k, Path(record) if record else None, progress)


def _task(target: str | Server | Plan | Task | None, settings: dict[str, object]) -> Task:
    """What to do at a target under these settings."""
    if isinstance(target, Task):
        return target.replace(**settings)
    base = target if isinstance(target, Plan) else None
    if target is not None and not isinstance(target, Plan):
        settings = {"base_url": target if isinstance(target, str) else target.url, **settings}
    return Task.of(settings, base)


Lines = bool | Callable[[str], None]
"""Progress: True for lines on stderr, or a function that takes each of them."""


def fit(
    source: str | Path | Run | Server | Plan | Task | Sequence[str | Path | Run],
    /,
    *,
    batch: Sequence[float] | None = None,
    max_num_seqs: int | None = None,
    shapes: str | None = None,
    budget: float | str = 300.0,
    seed: int = 0,
    output_dir: str | Path | None = None,
    progress: Lines = False,
    **settings: object,
) -> Fit:
    """Fit alpha, beta, gamma and delta of one replica, with intervals.

    source: a server (URL, vllmperf.sim.Server or Plan), which is loaded for `budget` (seconds, or "5m") and must have no
    other clients; or files: run files or Runs, result JSON of vLLM, reports of guidellm, or what `vllmperf fit --json`
    printed.
    batch: of each result file, else what the file reports. max_num_seqs: the server's setting, asked of it when None.
    shapes: prompt and output tokens of the runs, "128/128,512/128". settings: of the target: model, api_key, headers.

    Raises UsageError for what cannot be fitted, TargetError when the server answers nothing. Needs scipy.

    >>> import vllmperf as vp
    >>> fit = vp.fit("http://127.0.0.1:8000", budget="5m", max_num_seqs=64)  # doctest: +SKIP
    >>> fit.alpha.value, fit.alpha.low, fit.alpha.high  # doctest: +SKIP
    (6.97, 6.95, 6.99)
    """
    from vllmperf.model import fitting
    from vllmperf.plan.checks import seconds_of

    _check_scipy("fit")
    files = _files(source)
    if files is not None:
        found = fitting.fit_files(files, batch)
        return found if max_num_seqs is None else replace(found, max_num_seqs=max_num_seqs)
    assert not isinstance(source, (Path, Sequence)) or isinstance(source, str)
    seconds = budget if isinstance(budget, int | float) else seconds_of(budget)
    if seconds is None:
        raise UsageError(f"budget is {budget!r}: give seconds, or a text like 30s or 5m")
    return fitting.fit_server(
        _task(source, settings),  # type: ignore[arg-type]
        max_num_seqs,
        shapes or fitting.SHAPES,
        seconds,
        seed,
        Path(output_dir) if output_dir else None,
        _lines(progress),
    )


def emit(
    fit: Fit | str | Path,
    target: str,
    /,
    *,
    ttft: float | str | None = None,
    tpot: float | str | None = None,
    input_len: float | None = None,
    output_len: float | None = None,
    requests: Run | str | Path | None = None,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    kv_cache_tokens: int | None = None,
    seed: int = 0,
    progress: Lines = False,
) -> str:
    """What a router or an autoscaler wants to be told of a replica, as YAML to paste, each number with its interval.

    fit: a Fit, or a file of `vllmperf fit --json`. target: "llm-d-router", "keda", "wva-0.9", "wva-crd-2025" or "json".
    ttft, tpot: goals, spelled as in size(), for which the thresholds of "keda" are simulated. input_len, output_len: mean
    tokens of the requests, None takes the fit's first shape; or requests, a Run or run file to draw them from.
    max_num_batched_tokens: most tokens in a step; None takes what the server said, else 8192. kv_cache_tokens: what the KV
    cache holds.

    Raises UsageError for another target, or when the fit does not know what the target needs. Needs scipy.

    >>> import vllmperf as vp
    >>> print(vp.emit("parameters.json", "keda", ttft=500, tpot="p95:20"))  # doctest: +SKIP
    """
    from vllmperf.model.parameters import read_fit
    from vllmperf.model.size_settings import scaling_of
    from vllmperf.report.emit import emitted

    _check_scipy("fit --emit")
    found = read_fit(Path(fit)) if isinstance(fit, str | Path) else fit
    constants = scaling_of(
        found,
        ttft=ttft,
        tpot=tpot,
        lengths=(input_len, output_len),
        requests=requests,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        kv_cache_tokens=kv_cache_tokens,
        seed=seed,
        thresholds=target in ("keda", "json"),
        tell=_lines(progress),
    )
    return emitted(target, found, constants)


def size(
    parameters: Fit | str | Path | Mapping[str, float],
    /,
    *,
    ttft: float | str | None = None,
    tpot: float | str | None = None,
    tps: float | None = None,
    rate: float | None = None,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int = 8192,
    input_len: float = 128,
    output_len: float = 128,
    input_spread: float = 0.0,
    output_spread: float = 0.0,
    distribution: str = "uniform",
    requests: Run | str | Path | None = None,
    startup: float | str | Path | None = None,
    burst: float | str | None = None,
    gpus: int | None = None,
    price: float | None = None,
    seed: int = 0,
    progress: Lines = False,
) -> Sizing:
    """Find the largest rate that one replica carries within its goals, and the replicas that a load needs, by simulation.

    parameters: a Fit, a file of `vllmperf fit --json`, or {"alpha": ms, "beta": ms, "gamma": ms, "delta": ms/token}.
    ttft, tpot: goals in ms: 500 or "p99:500" for 99 % of requests, "p95:500", "mean:500". tps: output tokens/s of the whole
    service. One of these is needed. rate: requests/s of the whole service.
    max_num_seqs: most sequences in a step; None takes the fit's. max_num_batched_tokens: most tokens in a step (8192).
    input_len, output_len: mean tokens (128); input_spread, output_spread: how wide they are spread, by distribution
    ("uniform" or "lognormal"); or requests: a Run or run file whose requests are drawn from. seed: of the simulation.
    startup, burst: how many spare replicas a jump of the load from `rate` to `burst` (requests/s, or "1.5x") needs while others
    start: seconds, "90s", or a file of `vllmperf startup --json` or `parse-log --json`. gpus: of a replica; price: of a GPU
    for an hour, for the cost of tokens.

    Raises UsageError when a goal is missing or cannot be kept even by a request alone. Needs scipy.

    >>> import vllmperf as vp
    >>> found = vp.size({"alpha": 7, "beta": 0.1}, tpot="mean:7.3", max_num_seqs=4, output_len=8)
    >>> found.limited_by, found.low < found.max_rate_per_s < found.high
    ('tpot', True)
    """
    from vllmperf.model.parameters import Fit, read_fit
    from vllmperf.model.size_settings import SizeSettings, fit_of_numbers, sized

    _check_scipy("size")
    if isinstance(parameters, str | Path):
        found = read_fit(Path(parameters))
    else:
        found = parameters if isinstance(parameters, Fit) else fit_of_numbers(parameters)
    settings = SizeSettings(
        ttft=ttft,
        tpot=tpot,
        tps=tps,
        rate=rate,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        input_len=input_len,
        output_len=output_len,
        input_spread=input_spread,
        output_spread=output_spread,
        distribution=distribution,
        requests=requests,
        startup=startup,
        burst=burst,
        gpus=gpus,
        price=price,
        seed=seed,
    )
    return sized(found, settings, _lines(progress))


def capacity(
    target: str | Server | Plan | Task | None = None,
    /,
    *,
    ttft: float | str | None = None,
    tpot: float | str | None = None,
    goodput_share: float | None = None,
    budget: float | str = 300.0,
    max_num_seqs: int | None = None,
    output_dir: str | Path | None = None,
    progress: Lines = False,
    **settings: object,
) -> Capacity:
    """Find the highest rate at which a live server keeps its SLO, by runs of Poisson load.

    target and settings: as for bench, without the load. ttft, tpot: limits in ms, 500 or "p99:500" for 99 % of requests,
    "p95:500"; a request counts when it keeps both. goodput_share: overrides that share. budget: seconds, or "5m".
    output_dir: keep the run files here, or go on with those that are here.

    Raises UsageError, CheckError when a request alone breaks the SLO, TargetError when none is answered. Needs scipy.

    >>> import vllmperf as vp
    >>> found = vp.capacity("http://127.0.0.1:8000", ttft=500, tpot="p99:20", budget="5m")  # doctest: +SKIP
    >>> found.rate_per_s, found.estimate_per_s, found.low, found.high  # doctest: +SKIP
    (22.8, 24.1, 23.5, 24.6)
    """
    from vllmperf.loadgen.recorded import served
    from vllmperf.model.capacity import save_json
    from vllmperf.model.fitting import made_folder
    from vllmperf.model.latency_goals import limits
    from vllmperf.model.search import Search
    from vllmperf.plan.checks import seconds_of

    _check_scipy("capacity")
    wanted = limits(ttft, tpot, goodput_share)
    task = _task(target, {**settings, "request_rate": 1.0, "duration": 1.0})
    seconds = budget if isinstance(budget, int | float) else seconds_of(budget)
    if seconds is None or not 0 < seconds < 1e9:
        raise UsageError(f"budget is {budget!r}: give seconds above 0, or a text like 30s or 5m")
    if max_num_seqs is not None and max_num_seqs < 1:
        raise UsageError(f"max_num_seqs must be at least 1 (got {max_num_seqs})")
    kept = made_folder(Path(output_dir) if output_dir else None)
    with tempfile.TemporaryDirectory(prefix="vllmperf-capacity-") as temporary, served(task) as here:
        folder = kept or Path(temporary)
        result = Search(here, wanted, seconds, folder, max_num_seqs, _lines(progress)).run()
    if kept:
        save_json(kept / "capacity.json", result)
    return result


def parse_log(source: str | Path, /, *, year: int | None = None, tz: str | None = None) -> ParsedFile:
    """Where a vLLM server's start time went, from its log, plain or .gz, in whatever a collector put it.

    year: of the first line, where the log has none. tz: zone of the log's own stamps, "Europe/Berlin" or "+02:00".
    The result's `start` is a Start with its phases; `attempts` are all starts of the file.

    Raises UsageError when the file cannot be read.

    >>> import vllmperf as vp
    >>> log = vp.parse_log("server.log")  # doctest: +SKIP
    >>> log.start.total_s  # doctest: +SKIP
    79.65
    """
    from vllmperf.starts.log.parse import parse

    return parse(source, year, tz)


def startup(
    command: str | Sequence[str] | Measurement | None = None,
    /,
    *,
    progress: bool | Callable[[Sequence[Start]], None] = False,
    **settings: object,
) -> Starts:
    """Measure where the start of a vLLM server goes: of a command that is started here, or of pods of a cluster.

    command: "vllm serve MODEL", without a shell, or its words. Its settings: cold, warm, cache_dir, stop_timeout, echo.
    pods: label="app=vllm" or deployment=NAME, with namespace, containername, config, context, watch, scale, restart, grace.
    both: repeat, timeout, probe_first_token, sleep_wake, url, api_key, api_key_file, headers, cacert, insecure, output
    (a folder for the logs), log_timestamps. They are the flags of `vllmperf startup`, which its help describes; durations
    are seconds, or texts like "30m".
    progress: True for a waterfall on stderr that grows, or a function that takes the starts so far.

    Gives one Start for each, in a tuple that is shown as a table. Ctrl-C ends the measurement: `interrupted` is True then,
    and the starts known so far are there. Raises UsageError for settings, TargetError when there is no cluster or no pod.

    >>> import vllmperf as vp
    >>> starts = vp.startup("vllm serve MODEL", repeat=3)  # doctest: +SKIP
    >>> [start.total_s for start in starts]  # doctest: +SKIP
    [79.7, 61.2, 60.9]
    >>> vp.startup(label="app=vllm", watch=True)  # doctest: +SKIP
    """
    from vllmperf.report.startup import Starts
    from vllmperf.starts.live.measurement import Measurement
    from vllmperf.starts.live.measuring import measured

    if not isinstance(command, Measurement):
        command = Measurement.of({"command": command, **settings})
    with _shown_starts(progress) as show:
        starts, interrupted = measured(command, show)
    return Starts(starts, interrupted=interrupted)


def _files(source: object) -> list[Path] | None:
    """The paths of a source of files; None for a server."""
    from vllmperf.run import Run

    if isinstance(source, Run):
        return [source.path]
    if isinstance(source, Path):
        return [source]
    if isinstance(source, str):
        return None if "://" in source else [Path(source)]
    if isinstance(source, Sequence):
        return [path for one in source for path in _files(one) or ()]
    return None


def _lines(progress: Lines) -> Callable[[str], None]:
    if callable(progress):
        return progress
    return (lambda line: print(line, file=sys.stderr)) if progress else (lambda _: None)


def _check_scipy(what: str) -> None:
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise UsageError(f"{what} needs scipy: pip install 'vllmperf[model]'") from None


def selftest(*, point_s: float | None = None, progress: Lines = False) -> SelfTest:
    """Measure what this machine adds to latencies, against a simulated server here; about a minute.

    point_s: seconds a load, about (2). The result is kept in the user's cache folder, and later runs on this machine quote
    it (`run.summary["client"]["machine_adds"]`).

    >>> import vllmperf as vp
    >>> found = vp.selftest()  # doctest: +SKIP
    >>> found.streams[0].ttft_ms.p99, found.events_limit.per_s  # doctest: +SKIP
    (0.06, 98_700.0)
    """
    from vllmperf import own_error

    if point_s is not None and not 0 < point_s < 1e6:
        raise UsageError(f"point_s must be above 0 (got {point_s})")
    return own_error.measured(_lines(progress), point_s or own_error.POINT_S)


async def bench_async(
    target: str | Server | Plan | None = None,
    /,
    *,
    record: str | Path | None = None,
    progress: bool | Callable[[Snapshot], None] = False,
    **settings: object,
) -> Run:
    """The same as bench(), beside the loop of asyncio that is running: `run = await vp.bench_async(url)`.

    When the task is cancelled the run ends at once; what came until then stands in the file `record`.

    >>> import asyncio
    >>> import vllmperf as vp
    >>> async def work():
    ...     with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...         return await vp.bench_async(server, max_concurrency=2, num_prompts=6, output_len=4)
    >>> asyncio.run(work()).e2el.n
    6
    """
    import asyncio
    import threading

    is_cancelled = threading.Event()
    task = _task(target, settings)
    running = asyncio.ensure_future(
        asyncio.to_thread(
            make_run, task, Path(record) if record else None, progress, lambda *_: is_cancelled.is_set()
        )
    )
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        is_cancelled.set()
        with contextlib.suppress(Exception):
            await running
        raise


@overload
def compare(first: Run | str | Path, second: Run | str | Path, /) -> Comparison: ...


@overload
def compare(first: Run | str | Path, /, *others: Run | str | Path) -> Comparison | Comparisons: ...


def compare(first: Run | str | Path, /, *others: Run | str | Path) -> Comparison | Comparisons:
    """The figures of runs side by side: the change of each against the first, and whether it is beyond chance.

    first, others: Runs, run files, or results of other tools (result JSON of vLLM, reports of guidellm, …). Intervals and
    what is beyond chance need run files on both sides. With more than one other: a Comparisons, which holds a Comparison each.
    Raises UsageError for a file that holds no run.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     few, many = (vp.bench(server, max_concurrency=n, num_prompts=8, output_len=4) for n in (1, 8))
    >>> vp.compare(few, many).to_dict()["figures"]["completed"]
    {'a': 8, 'b': 8, 'change': 0.0}
    """
    from vllmperf.comparison.comparison import compared
    from vllmperf.comparison.figures import short_names

    if not others:
        raise UsageError("compare needs two runs or more")
    sides = (first, *others)
    names = short_names([str(side if isinstance(side, str | Path) else side.path) for side in sides])
    return compared([_figures(side, name) for side, name in zip(sides, names, strict=True)])


def check(source: Run | str | Path, /) -> list[CheckedRun]:
    """Hold the figures of each run in a file against each other: rates, Little's law, TTFT, TPOT, ITL and E2EL, token counts.

    source: a Run, a run file, a result of another tool, or a text into which its table was pasted.
    Raises UsageError for a file that holds no run.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     run = vp.bench(server, max_concurrency=2, num_prompts=6, output_len=4)
    >>> [one.status for one in vp.check(run)[0].checks if one.name == "little"]
    ['ok']
    """
    from vllmperf.formats import runs
    from vllmperf.metrics.checked import CheckedRun, of_run

    found = runs.read_all(source) if isinstance(source, str | Path) else [source]
    return [
        CheckedRun(
            f"{one.path}:{line}" if (line := getattr(one, "line", None)) else str(one.path),
            str(one.summary["profile"]),
            one.summary["requests"]["completed"],
            of_run(one.summary, getattr(one, "rounding", {}), getattr(one, "remarks", ())),
        )
        for one in found
    ]


def reconcile(first: Run | str | Path, second: Run | str | Path, /) -> Reconciled:
    """Why two results differ: what the other definition makes of the same requests, and what remains for load, tokens,
    connections and chance.

    first, second: as for compare. The definition's part is computed where one side is a run file and the other one follows the
    rule of guidellm or of vLLM's current client. Raises UsageError for a file that holds no run.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     few, many = (vp.bench(server, max_concurrency=2, num_prompts=n, output_len=4) for n in (6, 12))
    >>> [reason.words for reason in vp.reconcile(few, many).reasons if "completed" in reason.words]
    ['requests completed 6 → 12']
    """
    from vllmperf.comparison.figures import short_names
    from vllmperf.comparison.reconcile import reconcile as split

    paths = [str(side if isinstance(side, str | Path) else side.path) for side in (first, second)]
    a, b = (_figures(side, name) for side, name in zip((first, second), short_names(paths), strict=True))
    ours, other = ((first, a), b) if a.done is not None else ((second, b), a)
    there = _by_rule(ours[0], other.rule) if ours[1].done is not None and a.rule != b.rule else None
    return split(a, b, there)


def _by_rule(side: Run | str | Path, rule: str) -> Figures | None:
    """Our run by the rule of another tool: written as its file and read again. None for rules that need more than a run file."""
    from vllmperf.formats import runs

    name = next((name for start, name in RULES_OF_FILES.items() if rule.startswith(start)), None)
    if name is None:
        return None
    run = runs.read(side) if isinstance(side, str | Path) else side
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.json"
        runs.write(run.untrimmed, path, name)
        return replace(runs.read(path).figures(""), rule=rule)


RULES_OF_FILES = {"guidellm": "guidellm", "vLLM's own": "vllm", "vllm-2026": "vllm"}
"""By the beginning of a rule, the format that has figures by it."""


def _figures(side: Run | str | Path, name: str) -> Figures:
    from vllmperf.comparison.figures import figures_of_vllm
    from vllmperf.data_file import File
    from vllmperf.formats import runs
    from vllmperf.formats.runs import vllm

    if not isinstance(side, str | Path):
        return side.figures(name)
    file = File(Path(side))
    if vllm.recognise(file):
        return replace(figures_of_vllm(file.data, name), summary=vllm.read(file)[0].summary)
    return runs.read(Path(side)).figures(name)


def make_run(
    task: Task,
    record: Path | None,
    progress: bool | Callable[[Snapshot], None] = False,
    enough: Enough | None = None,
) -> Run:
    """Carry a task out and write its run file; see loadgen.recorded.record_run. progress: as in bench()."""
    from vllmperf.loadgen.recorded import record_run

    with _shown(progress) as show:
        return record_run(task, record, show, enough)


def make_repeats(
    task: Task,
    k: int,
    record: Path | None,
    progress: bool | Callable[[Snapshot], None] = False,
    trim: bool = True,
) -> Repeats:
    """Carry a task out k times; see loadgen.repeated.repeat_run. progress: as in bench()."""
    from vllmperf.loadgen.repeated import repeat_run

    return repeat_run(task, k, record, lambda: _shown(progress), trim)


def finish_run(task: Task, before: Unfinished, progress: bool | Callable[[Snapshot], None] = False) -> Run:
    """Carry out what is left of a run; see loadgen.recorded.resume_run."""
    from vllmperf.loadgen.recorded import resume_run

    with _shown(progress) as show:
        return resume_run(task, before, show)


@contextlib.contextmanager
def _shown(
    progress: bool | Callable[[Snapshot], None],
) -> Iterator[Callable[[Snapshot], None] | None]:
    """Where snapshots go: nowhere, to the caller's function, or to a live panel on stderr."""
    if not progress:
        yield None
    elif callable(progress):
        yield progress
    else:
        from vllmperf.report.live import Live

        with Live() as live:
            yield live


@contextlib.contextmanager
def _shown_starts(
    progress: bool | Callable[[Sequence[Start]], None],
) -> Iterator[Callable[[Sequence[Start]], None] | None]:
    """Where starts that go on are shown: nowhere, by the caller's function, or on stderr."""
    if not progress:
        yield None
    elif callable(progress):
        yield progress
    else:
        from vllmperf.report.startup.live import LiveStarts

        with LiveStarts() as live:
            yield lambda starts: live.update(starts, time.time_ns())
