"""Cold and warm caches: where compiled code is kept between starts, and empty folders instead of it.

Weights are left where they are (HF_HOME), and so is the operating system's file cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from vllmperf import temporary

FOLDERS = {
    "VLLM_CACHE_ROOT": "vllm",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "DG_JIT_CACHE_DIR": "deep_gemm",
    "XDG_CACHE_HOME": "xdg",
}


def variables(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that put every cache of compiled code into the folder and keep the hub's where it is."""
    home = environment.get("XDG_CACHE_HOME") or str(
        Path(environment.get("HOME", "~")).expanduser() / ".cache"
    )
    hub = environment.get("HF_HOME") or str(Path(home) / "huggingface")
    return {name: str(folder / part) for name, part in FOLDERS.items()} | {"HF_HOME": hub}


def fresh(parent: Path | None) -> Path:
    """An empty folder for the caches of one cold start and of the warm ones after it."""
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="vllmperf-caches-", dir=parent or temporary.folder())).resolve()
