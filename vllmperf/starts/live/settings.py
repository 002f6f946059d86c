"""What a measurement of pods is asked to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vllmperf.starts.live import trouble
from vllmperf.starts.live.probe import Access
from vllmperf.starts.result import Start


@dataclass(frozen=True)
class Settings:
    """What to measure and how, for every pod."""

    namespace: str = "default"
    container: str | None = None
    timeout_s: float = 1800.0
    grace_s: float = trouble.GRACE_S
    probe_first_token: bool = False
    sleep_wake: int = 0
    url: str | None = None
    access: Access = field(default_factory=Access)
    logs_to: Path | None = None
    log_stamps: bool = True
    on_update: Callable[[list[Start]], None] | None = None
    group: str | None = None
