"""Carries out a measurement of starts, and keeps what a Ctrl-C leaves of it."""

from __future__ import annotations

from dataclasses import replace

from vllmperf.starts.live.measurement import Measurement, Update
from vllmperf.starts.result import Start


def measured(asked: Measurement, on_update: Update | None = None) -> tuple[list[Start], bool]:
    """The starts, and whether a Ctrl-C (KeyboardInterrupt) ended the measurement: then those known until then.

    on_update takes the starts so far, a few times a second. Raises UsageError, TargetError.
    """
    asked = replace(asked, on_update=on_update)
    finished: list[Start] = []
    try:
        if asked.command is None:
            from vllmperf.starts.live import pods

            finished = pods.measure(asked)
        else:
            from vllmperf.starts.live import launch

            for start in launch.starts(asked):
                finished.append(start)
    except KeyboardInterrupt as stopped:
        return getattr(stopped, "starts", finished), True
    return finished, False
