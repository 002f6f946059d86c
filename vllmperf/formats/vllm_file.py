"""Writing vLLM's result files: name, appending, and the records of the PyTorch benchmark format beside them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllmperf.errors import UsageError

MOST_NAME = 240
"""Bytes of a file's name; file systems take 255, and a second file adds .pytorch."""
PYTORCH = "SAVE_TO_PYTORCH_BENCHMARK_FORMAT"
"""The environment variable that asks for the second file."""
PYTORCH_METRICS = tuple(
    f"{what}_{metric}_ms"
    for metric, order in (
        ("ttft", ("median", "mean", "std", "p99")),
        ("tpot", ("mean", "median", "std", "p99")),
        ("itl", ("median", "mean", "std", "p99")),
    )
    for what in order
)
LEFT_OUT = ("ttfts", "itls", "generated_texts", "errors", "server_queue_times", "server_ttfts")
"""Too long for the second file."""


def file_name(
    start: str, rate: float, max_concurrency: int | None, model: str, date: str, ramp_up: str | None = None
) -> str:
    """{backend or label}-{rate}qps[-concurrency{N}]-{last part of the model}-{date}.json"""
    speed = ramp_up if ramp_up is not None else f"{rate}qps"
    limit = "" if max_concurrency is None else f"-concurrency{max_concurrency}"
    return fitting(f"{start}-{speed}{limit}-{model.split('/')[-1]}", f"-{date}.json")


def fitting(start: str, end: str) -> str:
    """A file's name that file systems take: not too long, without control characters."""
    plain = "".join(letter if letter.isprintable() else "_" for letter in start)
    return plain.encode(errors="replace")[: MOST_NAME - len(end)].decode(errors="ignore") + end


def write(path: Path, result: Mapping[str, Any], *, append: bool) -> None:
    """Write the object, or add it as a new line. Raises UsageError when the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+" if append else "w", encoding="utf-8") as file:
            if append and file.tell() != 0:
                file.write("\n")
            file.write(json.dumps(result))
    except OSError as error:
        raise UsageError(
            f"cannot write the result {path}: {error.strerror}; choose another --result-dir or --result-filename"
        ) from None


def write_pytorch(
    path: Path, settings: Mapping[str, Any], result: Mapping[str, Any], *, has_compile: bool
) -> None:
    """NAME.pytorch.json beside the result, when the environment asks for it and a metric is there: one record each."""
    records = pytorch_records(settings, result, has_compile=has_compile) if os.environ.get(PYTORCH) else []
    if not records:
        return
    Path(f"{os.path.splitext(path)[0]}.pytorch.json").write_text(  # noqa: PTH122 its rule for dots
        json.dumps(records, default=str), encoding="utf-8"
    )


def pytorch_records(
    settings: Mapping[str, Any], result: Mapping[str, Any], *, has_compile: bool
) -> list[dict[str, Any]]:
    """Records of the PyTorch OSS benchmark database (vllm/benchmarks/lib/utils.py).

    has_compile: with what the database asks about compilation, which a client does not know (since 2026).
    """
    more = {
        name: _plain(value) for name, value in result.items() if name not in (*PYTORCH_METRICS, *LEFT_OUT)
    }
    arguments = {name: _plain(value) for name, value in settings.items()}
    if "tensor_parallel_size" in more:
        arguments.setdefault("tensor_parallel_size", more["tensor_parallel_size"])
    setting: dict[str, Any] = {"args": arguments}
    if has_compile:
        is_compiled = "eager" not in str(settings.get("result_filename") or "")
        setting |= {"compilation_config.mode": "", "optimization_level": "", "use_compile": is_compiled}
    return [
        {
            "benchmark": {"name": "vLLM benchmark", "extra_info": setting},
            "model": {"name": settings.get("model")},
            "metric": {"name": name, "benchmark_values": [_plain(result[name])], "extra_info": more},
        }
        for name in PYTORCH_METRICS
        if name in result
    ]


def _plain(value: Any) -> Any:
    """JSON without infinities."""
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
