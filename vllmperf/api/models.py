"""What a replica costs and carries: fit, emit, size, capacity."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf import temporary
from vllmperf.api.given import Lines, check_names, check_scipy, lines_of, suggests_names, task_of
from vllmperf.errors import SettingError, UsageError
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan
from vllmperf.whole_file import write_whole

if TYPE_CHECKING:
    from vllmperf.loadgen.subscribers import Watch
    from vllmperf.model.capacity import Capacity
    from vllmperf.model.parameters import Fit
    from vllmperf.model.sizing import Sizing
    from vllmperf.run import Run
    from vllmperf.sim import Server


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
    watch: Watch | None = None,
    **settings: object,
) -> Fit:
    """Fit alpha, beta, gamma and delta of one replica, with intervals.

    source: a server (URL, vllmperf.sim.Server or Plan), which is loaded for `budget` (seconds, or "5m") and must have no
    other clients; or files: run files or Runs, result JSON of vLLM, reports of guidellm, or what `vllmperf fit --json`
    printed.
    batch: of each result file, else what the file reports. max_num_seqs: the server's setting, asked of it when None.
    shapes: prompt and output tokens of the runs, "128/128,512/128". watch: makes a subscriber for each run's session.
    settings: of the target: model, api_key, headers.

    Raises UsageError for what cannot be fitted, TargetError when the server answers nothing. Needs scipy.

    >>> import vllmperf as vp
    >>> replica = {"mode": "batching", "alpha_ms": 7, "beta_ms": 0.5, "max_num_seqs": 16}
    >>> lengths = {"input_len": 32, "output_len": 20}
    >>> with vp.sim.Server(**replica) as server:
    ...     runs = [vp.bench(server, max_concurrency=n, num_prompts=4 * n, **lengths) for n in (1, 8)]
    >>> fit = vp.fit(runs)
    >>> abs(fit.alpha.value - 7) < 0.5, fit.alpha.low < fit.alpha.value < fit.alpha.high
    (True, True)
    """
    from vllmperf.model import fitting
    from vllmperf.plan.checks import seconds_of

    check_scipy("fit")
    check_names(settings, fit.__kwdefaults__ or ())
    files = _files(source)
    if files is not None:
        if settings:
            raise UsageError(
                f"{', '.join(settings)}: only a server that fit measures takes settings, files do not"
            )
        found = fitting.fit_files(files, batch)
        return found if max_num_seqs is None else replace(found, max_num_seqs=max_num_seqs)
    assert not isinstance(source, (Path, Sequence)) or isinstance(source, str)
    seconds = budget if isinstance(budget, int | float) else seconds_of(budget)
    if seconds is None:
        raise SettingError("{budget} is {got}: give seconds, or a text like 30s or 5m", got=repr(budget))
    return fitting.fit_server(
        task_of(source, settings),  # type: ignore[arg-type]
        max_num_seqs,
        shapes or fitting.SHAPES,
        seconds,
        seed,
        Path(output_dir) if output_dir else None,
        lines_of(progress),
        watch,
    )


@suggests_names
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
    >>> with vp.sim.Server(mode="batching", alpha_ms=7, beta_ms=0.5) as server:
    ...     few = {"max_concurrency": 1, "num_prompts": 8, "output_len": 20}
    ...     runs = [vp.bench(server, **few, input_len=n) for n in (32, 512)]
    ...     runs.append(vp.bench(server, max_concurrency=8, num_prompts=32, input_len=32, output_len=20))
    >>> "alpha:" in vp.emit(vp.fit(runs), "wva-crd-2025")
    True
    """
    from vllmperf.model.parameters import read_fit
    from vllmperf.model.size_settings import scaling_of
    from vllmperf.report.emit import emitted

    check_scipy("fit --emit")
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
        tell=lines_of(progress),
    )
    return emitted(target, found, constants)


@suggests_names
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

    check_scipy("size")
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
    return sized(found, settings, lines_of(progress))


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
    watch: Watch | None = None,
    **settings: object,
) -> Capacity:
    """Find the highest rate at which a live server keeps its SLO, by runs of Poisson load.

    target and settings: as for bench, without the load. ttft, tpot: limits in ms, 500 or "p99:500" for 99 % of requests,
    "p95:500"; a request counts when it keeps both. goodput_share: overrides that share. budget: seconds, or "5m".
    output_dir: keep the run files here, or go on with those that are here. watch: as in fit().

    Raises UsageError, CheckError when a request alone breaks the SLO, TargetError when none is answered. Needs scipy.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(mode="batching", alpha_ms=7, beta_ms=0.5, max_num_seqs=16) as server:
    ...     found = vp.capacity(server, tpot="p99:12", budget="8s", input_len=16, output_len=10)
    >>> found.limits.tpot_ms, found.limits.share, found.elapsed_s < 60
    (12.0, 0.99, True)
    """
    from vllmperf.loadgen.recorded import served
    from vllmperf.model.fitting import made_folder
    from vllmperf.model.latency_goals import limits
    from vllmperf.model.search import Search
    from vllmperf.plan.checks import seconds_of

    check_scipy("capacity")
    check_names(settings, capacity.__kwdefaults__ or ())
    wanted = limits(ttft, tpot, goodput_share)
    task = task_of(target, {**settings, "request_rate": 1.0, "duration": 1.0})
    seconds = budget if isinstance(budget, int | float) else seconds_of(budget)
    if seconds is None or not 0 < seconds < 1e9:
        raise SettingError(
            "{budget} is {got}: give seconds above 0, or a text like 30s or 5m", got=repr(budget)
        )
    if max_num_seqs is not None and max_num_seqs < 1:
        raise SettingError("{max_num_seqs} must be at least 1 (got {got})", got=max_num_seqs)
    kept = made_folder(Path(output_dir) if output_dir else None)
    with temporary.new_folder("vllmperf-capacity-") as made, served(task) as here:
        folder = kept or Path(made)
        result = Search(here, wanted, seconds, folder, max_num_seqs, lines_of(progress), watch).run()
    if kept:
        write_whole(kept / "capacity.json", json.dumps(result.to_dict(), indent=2) + "\n")
    return result


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
