"""A fit from its sources: runs made against a server for it, recorded runs, or result files of other tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf import temporary
from vllmperf.errors import SettingError, UsageError
from vllmperf.model.parameters import Fit, is_fit, read_fit
from vllmperf.model.server_settings import kv_cache_tokens, setting
from vllmperf.target import client_of, first_model

if TYPE_CHECKING:
    from vllmperf.loadgen.subscribers import Watch
    from vllmperf.loadgen.task import Task
    from vllmperf.target import Client

SHAPES = "128/128,512/128,128/512,2048/64"
RUN_FILE = b"SQLite format 3\0"
LEAST_SEQUENCES = 2


def fit_server(
    task: Task,
    max_num_seqs: int | None,
    shapes: str,
    budget_s: float,
    seed: int,
    output_dir: Path | None,
    tell: Callable[[str], None],
    watch: Watch | None = None,
) -> Fit:
    """Load the server at several batches and fit. Raises SettingError, TargetError when nothing answers."""
    from vllmperf.model.arrivals import arrivals
    from vllmperf.model.campaign import carry_out, run_seconds, shapes_of, spots
    from vllmperf.model.law import fit_runs, measured
    from vllmperf.record.reader import read

    if max_num_seqs is not None and max_num_seqs < LEAST_SEQUENCES:
        raise SettingError("{max_num_seqs} must be at least 2 for a fit (got {got})", got=max_num_seqs)
    if task.plan.target.other_urls:
        raise SettingError("a fit is of one replica: give {base_url} once")
    client = client_of(task.plan.target, task.credentials)
    model = task.plan.target.model or first_model(client)
    most = _max_num_seqs(max_num_seqs, client)
    planned = spots(most, shapes_of(shapes))
    each_s = run_seconds(planned, budget_s)
    with temporary.new_folder("vllmperf-fit-") as made:
        folder = made_folder(output_dir) or Path(made)
        done = carry_out(task.replace(model=model), planned, each_s, folder, seed, tell, watch)
        runs = [
            measured(
                one.spot.label,
                arrivals(read(one.path, texts=False)),
                one.spot.held_out,
                one.spot.concurrency,
                one.server_running,
            )
            for one in done
        ]
    return replace(
        fit_runs(runs),
        model=model,
        max_num_seqs=most,
        max_num_batched_tokens=setting(client, "max_num_batched_tokens"),
        kv_cache_tokens=kv_cache_tokens(client),
    )


def made_folder(path: Path | None) -> Path | None:
    """Of the setting output_dir. Raises SettingError when it cannot be made."""
    if path is None:
        return None
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(
            "{output_dir}: {path} cannot be made: {why}", path=path, why=error.strerror
        ) from None
    return path


def _max_num_seqs(given: int | None, client: Client) -> int:
    found = given or setting(client, "max_num_seqs")
    if found is None:
        raise SettingError(
            "the server does not say its --max-num-seqs (/server_info needs VLLM_SERVER_DEV_MODE=1): "
            "give {max_num_seqs}"
        )
    if found < LEAST_SEQUENCES:
        raise UsageError(f"the server serves {found} at a time: alpha and beta need 2 or more")
    return int(found)


def fit_files(paths: Sequence[Path], batch: Sequence[float] | None = None) -> Fit:
    """Fit to run files, or to the means in result files; or read the one file that `vllmperf fit --json` printed.

    batch: of each result file; None takes the concurrency that each reports. Raises UsageError.
    """
    from vllmperf.data_file import File
    from vllmperf.model.arrivals import arrivals
    from vllmperf.model.law import fit_runs, measured
    from vllmperf.model.means import fit_means, read_means
    from vllmperf.paths import shortest_name
    from vllmperf.record.reader import read

    files = [File(path) for path in paths]
    names = [shortest_name(path, list(paths)) for path in paths]
    recorded = [file.head == RUN_FILE for file in files]
    if len(paths) == 1 and not recorded[0] and is_fit(files[0].data):
        return read_fit(paths[0])
    if all(recorded):
        recordings = [read(path, texts=False) for path in paths]
        runs = [
            measured(name, arrivals(one), concurrency=one.plan.get("max_concurrency"))
            for name, one in zip(names, recordings, strict=True)
        ]
        return replace(fit_runs(runs), model=recordings[0].plan.get("model"))
    if any(recorded):
        raise UsageError("run files and result files of other tools cannot be fitted together: give one kind")
    if batch is not None and len(batch) != len(paths):
        raise SettingError(
            "{batch} names {got} batches for {files} files: give one a file", got=len(batch), files=len(paths)
        )
    batches: Sequence[float | None] = batch or [None] * len(paths)
    means = [
        mean
        for path, one, name in zip(paths, batches, names, strict=True)
        for mean in read_means(path, one, name)
    ]
    return fit_means(means)
