"""What the client does beside the plan: no request of the load changes by it."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from typing import Any

from vllmperf.plan import checks
from vllmperf.plan.checks import refused, setting, whole
from vllmperf.plan.part import Part

KEEP_GAPS = ("all", "sample", "none")
RECORD, WAIT = "record", "wait"
SHARE = re.compile(r"(\d+)/(\d+)")


POWER_KINDS = ("dcgm", "prometheus", "file")


def power_source(name: str, value: Any) -> str:
    """dcgm=URL, prometheus=URL[,query=…] or file=PATH."""
    kind, _, where = str(value).partition("=")
    is_url = where.startswith(("http://", "https://"))
    if kind not in POWER_KINDS or not where or (kind != "file" and not is_url):
        raise checks.refused(name, "dcgm=URL, prometheus=URL[,query=…] or file=PATH", value)
    return str(value)


def patience_s(on_server_loss: str) -> float | None:
    """How long to wait for a lost server; None: not at all.

    >>> patience_s("record"), patience_s("wait"), patience_s("wait:30m")
    (None, inf, 1800.0)
    """
    word, _, limit = on_server_loss.partition(":")
    if word != WAIT:
        return None
    return checks.seconds_of(limit) if limit else math.inf


def server_loss(name: str, value: Any) -> str:
    """record, wait or wait:LIMIT."""
    word, mark, limit = str(value).partition(":")
    is_limited = word == WAIT and mark and checks.seconds_of(limit)
    if value not in (RECORD, WAIT) and not is_limited:
        raise checks.refused(name, "record, wait or wait:LIMIT like wait:30m", value)
    return str(value)


def shared(share: str) -> tuple[int, int]:
    """Which share of how many. Raises ValueError for a text that is none."""
    found = SHARE.fullmatch(share)
    index, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if index >= of:
        raise ValueError(share)
    return index, of


def _share(name: str, value: Any) -> str:
    with contextlib.suppress(TypeError, ValueError):
        shared(value)
        return str(value)
    raise refused(name, "I/N with I from 0 to N - 1, like 0/3", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(Part):
    """threads: 0 = chosen. spin_us: spinning instead of sleeping before a send is due. kernel_stamps: off, chunks are
    stamped when the program sees them. keep_text, record_chunks: what of each answer is kept beside its times.
    server_metrics: ask the server for /metrics before and after the run. report_interval: tell every so many seconds what
    the run did in them. keep_gaps: of which requests the run file keeps the gaps between tokens.
    on_server_loss: "record": requests fail as long as it is gone; "wait", "wait:30m": the run pauses until it is back.
    power: where the watts of the GPUs come from. gpu_tdp: the limit of one in watts.
    start_at: when the schedule begins, in s since 1970. share: like 0/3, send every third request from the first on: other
    machines send the others, and their run files merge into that of the whole plan."""

    threads: int = setting(0, whole(0))
    spin_us: float = setting(50.0, checks.number(least=0.0))
    kernel_stamps: bool = setting(True, checks.flag)
    keep_text: bool = setting(False, checks.flag)
    record_chunks: bool = setting(False, checks.flag)
    server_metrics: bool = setting(True, checks.flag)
    keep_gaps: str = setting("all", checks.one_of(*KEEP_GAPS))
    report_interval: float | None = setting(None, checks.seconds(least=0.1))
    on_server_loss: str = setting(RECORD, server_loss)
    power: str | None = setting(None, power_source)
    gpu_tdp: float | None = setting(None, checks.number(above=0.0))
    start_at: float | None = setting(None, checks.number(least=0.0, most=4e9))
    share: str | None = setting(None, _share)
