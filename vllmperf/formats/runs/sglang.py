"""The JSON lines of SGLang's bench_serving, one a run."""

from __future__ import annotations

from typing import Any

from vllmperf.data_file import File
from vllmperf.formats.runs import vllm
from vllmperf.run import Run

MARK = "mean_e2e_latency_ms"


def recognise(file: File) -> bool:
    return MARK in file.data and "completed" in file.data


def read(file: File) -> list[Run]:
    return [vllm.run_of(file.path, _as_vllm(data)) for data in file.objects if MARK in data]


def _as_vllm(data: dict[str, Any]) -> dict[str, Any]:
    """Under vLLM's names."""
    return {
        "profile": "sglang",
        **{name.replace("e2e_latency", "e2el"): value for name, value in data.items()},
    }
