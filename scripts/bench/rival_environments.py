"""Each client in a virtual environment of its own, in the cache; a second run installs nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rival_tools import PROGRAMS, Tool
from side_by_side import CACHE

LIMIT_S = 15 * 60
"""For each call of pip."""


class NotInstalledError(Exception):
    """Says in a line why a client is missing."""


def environment(tool: Tool, tell: Callable[[str], None]) -> Path:
    """The folder of its environment, made when it is not there. Raises NotInstalledError."""
    if tool.environment == "":
        return Path(sys.prefix)
    folder = CACHE / "rivals" / (tool.environment or tool.name)
    wanted = json.dumps([tool.alone, tool.packages])
    done = folder / "installed.json"
    if not done.exists() or done.read_text() != wanted:
        tell(f"installing {tool.name} {tool.version} to {folder}")
        began = time.monotonic()
        _install(tool, folder)
        done.write_text(wanted)
        tell(f"installed in {time.monotonic() - began:.0f} s")
    for source, name in tool.copied.items():
        shutil.copy(PROGRAMS / source, next(folder.glob("lib/python*/site-packages")) / name)
    return folder


def _install(tool: Tool, folder: Path) -> None:
    _run([_python(tool.python), "-m", "venv", "--clear", folder])
    pip: list[str | Path] = ["nice", folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    if tool.alone:
        _run([*pip, "--no-deps", *tool.alone])
    _run([*pip, *tool.packages])


def _run(command: Sequence[str | Path]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"not installed within {LIMIT_S // 60} minutes") from None
    if done.returncode:
        raise NotInstalledError((done.stderr.strip().splitlines() or ["pip failed"])[-1])


def _python(least: tuple[int, int]) -> Path:
    """An interpreter that is new enough: this one, one in PATH, or one of pyenv's."""
    if sys.version_info[:2] >= least:
        return Path(sys.executable)
    names = [f"python{least[0]}.{minor}" for minor in (least[1], least[1] + 1)]
    found = [Path(where) for name in names if (where := shutil.which(name))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found += [
        path / "bin" / "python"
        for name in names
        for path in sorted(pyenv.glob(f"{name.removeprefix('python')}.*"))
    ]
    for path in found:
        if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    raise NotInstalledError(f"needs Python {least[0]}.{least[1]}")
