"""What a run says of itself while it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The run at one moment. None where there is no such figure (yet)."""

    elapsed_s: float
    asked: int | None
    sent: int
    in_flight: int
    done: int
    completed: int
    errors: Mapping[str, int] = field(default_factory=dict)
    output_tokens_per_s: float | None = None
    ttft_ms_p50: float | None = None
    ttft_ms_p99: float | None = None
    client_lag_ms_p99: float | None = None
    time_left_s: float | None = None
    state: str = "running"
