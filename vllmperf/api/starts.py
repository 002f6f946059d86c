"""Starts of servers: from a log, or measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.api.given import suggests_names

if TYPE_CHECKING:
    from vllmperf.report.startup import Starts
    from vllmperf.starts.live.measurement import Measurement
    from vllmperf.starts.result import ParsedFile, Start


@suggests_names
def parse_log(source: str | Path, /, *, year: int | None = None, tz: str | None = None) -> ParsedFile:
    """Where a vLLM server's start time went, from its log, plain or .gz, in whatever a collector put it.

    year: of the first line, where the log has none. tz: zone of the log's own stamps, "Europe/Berlin" or "+02:00".
    The result's `start` is a Start with its phases; `attempts` are all starts of the file.

    Raises UsageError when the file cannot be read.

    >>> import vllmperf as vp
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "server.log"
    ...     with vp.sim.Server(startup="version=0.28,weights_load=4,time_scale=0.1", startup_log=str(path)) as server:
    ...         run = vp.bench(server, num_prompts=1, output_len=2, ready_check_timeout_sec=60)
    ...     log = vp.parse_log(path)
    >>> log.start.log.vllm_version, [phase.name for phase in log.start.phases][:4]
    ('0.28.0', ['config', 'engine_process', 'worker_init', 'weights_load'])
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
    >>> import sys
    >>> server = [sys.executable, "-m", "vllmperf", "sim", "--port", "8765", "--startup-log", "-", "--startup", "time_scale=0.1"]
    >>> starts = vp.startup(server, repeat=2, url="http://127.0.0.1:8765")
    >>> len(starts), all(0 < start.total_s < 60 for start in starts)
    (2, True)
    """
    from vllmperf.report.startup import Starts
    from vllmperf.starts.live.measurement import Measurement
    from vllmperf.starts.live.measuring import measured

    if not isinstance(command, Measurement):
        command = Measurement.of({"command": command, **settings})
    with _shown_starts(progress) as show:
        starts, interrupted = measured(command, show)
    return Starts(starts, interrupted=interrupted)


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
