"""Starts of servers: from a log, or measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllmperf.report.startup import Starts
    from vllmperf.starts.live.measurement import Measurement
    from vllmperf.starts.result import ParsedFile, Start


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
