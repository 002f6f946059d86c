"""What a command asks for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllmperf.dropin.guidellm.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of `guidellm benchmark run`, with their names."""

    target: str
    rate_type: str
    data: str
    backend_args: Mapping[str, Any] = field(default_factory=dict, repr=False)
    model: str | None = None
    processor: str | None = None
    processor_args: Mapping[str, Any] | None = None
    data_args: Mapping[str, Any] | None = None
    data_sampler: str | None = None
    data_samples: int | None = None
    is_probed: bool = True
    rate: tuple[float, ...] | None = None
    max_concurrency: int | None = None
    swept: str = "constant"
    max_seconds: float | None = None
    max_requests: int | None = None
    warmup_percent: float | None = None
    cooldown_percent: float | None = None
    disable_progress: bool = False
    display_scheduler_stats: bool = False
    disable_console_outputs: bool = False
    output_paths: tuple[Path, ...] | None = None
    output_extras: Mapping[str, Any] | None = None
    output_sampling: int | None = None
    random_seed: int = 42
    guidellm_burst: bool = False
    settings: Settings

    @property
    def is_chat(self) -> bool:
        return self.settings.preferred_route == "chat_completions"
