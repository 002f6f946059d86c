"""What `vllmperf selftest` found on this machine, kept for later runs to quote."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERSION = 1
SAME = ("cpu", "usable_cores", "kernel", "machine", "libcurl", "vllmperf")
"""Facts of environment() that must be the same for an old finding to hold."""


def path() -> Path:
    """$XDG_CACHE_HOME/vllmperf/selftest.json, else below ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "vllmperf" / "selftest.json"


def keep(found: Mapping[str, Any]) -> Path | None:
    """Write what was found, which has the environment beside it. None when no file can be written, as in some pods."""
    home = path()
    new = home.with_suffix(f".{os.getpid()}")
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps({"version": VERSION, **found}))
        new.replace(home)
    except OSError:
        return None
    return home


def known(environment: Mapping[str, Any]) -> dict[str, Any] | None:
    """The date and the streams of the last selftest; None without one of such a machine and such a version."""
    try:
        found = json.loads(path().read_text())
        is_same = found["version"] == VERSION and all(
            found["environment"].get(name) == environment.get(name) for name in SAME
        )
        return {"at": found["at"], "streams": found["streams"]} if is_same else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
        return None  # no home, no file, or one of another program
