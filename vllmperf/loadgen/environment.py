"""Where a run was made: kept with it, so that two runs are compared only when they may be."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

from vllmperf.loadgen import known_error


def environment() -> dict[str, Any]:
    """CPU, kernel, library versions and load of this machine, and what its last selftest found (None without one)."""
    import numpy as np

    import vllmperf._engine as _engine
    from vllmperf.version import __version__

    found: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": _engine.usable_cores(),
        "memory_gib": _memory_gib(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "load_average": list(os.getloadavg()),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "libcurl": _engine.LIBCURL_VERSION,
        "vllmperf": __version__,
    }
    return {**found, "selftest": known_error.known(found)}


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (OSError, ValueError):
        return None
