"""What a run says of itself while it goes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Snapshot(NamedTuple):
    """The run at one moment. None where there is no such figure (yet)."""

    elapsed_s: float
    asked: int | None
    sent: int
    in_flight: int
    done: int
    completed: int
    errors: Mapping[str, int] = MappingProxyType({})
    output_tokens_per_s: float | None = None
    ttft_ms_p50: float | None = None
    ttft_ms_p99: float | None = None
    client_lag_ms_p99: float | None = None
    time_left_s: float | None = None
    state: str = "running"
    notice: str | None = None
    """What the person at the terminal should know now: a queue that grows without end."""
