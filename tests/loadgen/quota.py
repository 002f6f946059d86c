"""A control group of our own with a CPU quota, version 1 or 2, for tests of a starved client."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

PERIOD_US = 100_000
HIERARCHIES = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))


@contextlib.contextmanager
def quota(cores: float) -> Iterator[Path]:
    """The group's folder. Skips the test where no group can be made."""
    group = next((made for root in HIERARCHIES if (made := _made(root, cores))), None)
    if group is None:
        pytest.skip("no control group with a CPU quota can be made here")
    try:
        yield group
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def _made(root: Path, cores: float) -> Path | None:
    group = root / f"vllmperf-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        if (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_quota_us").write_text(str(round(cores * PERIOD_US)))
        else:
            (group / "cpu.max").write_text(f"{round(cores * PERIOD_US)} {PERIOD_US}")
    except OSError:
        group.rmdir()
        return None
    return group


def inside(group: Path, words: list[str]) -> list[str]:
    """The command that joins the group and goes on as `words`."""
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *words]
