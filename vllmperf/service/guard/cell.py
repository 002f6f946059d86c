"""The cell of a worker: which servers and files its process may reach, held by the process itself and by the kernel.

What a request says was checked before; this holds for what a check cannot see: a file that becomes a symlink later, a name that
means something else later, a redirect, a library that opens files and sockets by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vllmperf import reach, temporary
from vllmperf.bucket.place import of_environment
from vllmperf.service.guard.settings import Guard

HUB = "https://huggingface.co"
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/opt", "/app", "/etc", "/sys", "/dev")
FILES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
)
"""Variables that name files of certificates, and of the keys to the bucket."""
PROCESSOR = (
    *("cpuinfo", "stat", "meminfo", "loadavg", "uptime", "version", "schedstat", "filesystems", "mounts"),
    *("sys", "pressure", "net", "self", "thread-self"),
)
"""Of /proc: not the folders of other processes, where the service's own environment stands."""


def cell_of(guard: Guard) -> dict[str, Any]:
    """What a worker is told of its cell, as JSON."""
    return {"reach": None if guard.reach is None else str(guard.reach)}


def enter_cell(data: Path, folder: Path, told: Mapping[str, Any]) -> None:
    """For good, before anything of the request is looked at. Files that nothing needs to be opened any more, as modules, stay
    readable. Without Landlock (Linux before 5.13) the kernel does not hold the files; the checks of requests do."""
    _die_first()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an image of the memory has the keys in it
    _keep_to_servers(told.get("reach"))
    if "reach" in told:
        landlock(_readable(data), _writable(folder))


def _die_first() -> None:
    """When memory runs out, it is the run that ends, not the service."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _keep_to_servers(rules: str | None) -> None:
    if rules is None:
        return
    allowed = reach.Reach.of([rules, *_bucket()])
    os.environ["HF_HUB_DISABLE_XET"] = "1"  # it has a client of its own, which asks nobody
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    host = urlsplit(os.environ.get("HF_ENDPOINT") or HUB).hostname or ""
    if not allowed.names(host, 443):
        os.environ["HF_HUB_OFFLINE"] = "1"
    reach.limit(allowed)


def _bucket() -> list[str]:
    """The server of the bucket that the environment names: a stress run puts into it what it did so far."""
    place = of_environment()
    if place is None:
        return []
    parts = urlsplit(place.endpoint or "")
    if not parts.hostname:
        return ["*.amazonaws.com:443"]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return [f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"]


# ---- files ----


def _readable(data: Path) -> list[Path]:
    own = [Path(part) for part in (sys.prefix, sys.base_prefix, *sys.path) if part]
    own += [Path(os.environ[name]) for name in FILES if os.environ.get(name)]
    own.append(Path(os.environ.get("HOME") or "/nonexistent") / ".aws")
    home = Path(__file__).resolve().parents[3]
    names = Path(os.path.realpath("/etc/resolv.conf"))  # often a link to where the system's resolver writes
    return [
        names,
        *map(Path, SYSTEM),
        *(Path("/proc") / name for name in PROCESSOR),
        *own,
        home / "vllmperf",
        data,
    ]


def _writable(folder: Path) -> list[Path]:
    caches = [os.environ.get(name) for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "MPLCONFIGDIR")]
    usual = Path(os.environ.get("HOME") or "/nonexistent") / ".cache"
    return [folder, Path(temporary.folder()), Path("/dev"), Path("/proc/self"), usual,
            *(Path(one) for one in caches if one)]  # fmt: skip


CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PR_SET_NO_NEW_PRIVS = 38
READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read_file, read_dir
ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Every right over files that each version of Landlock knows (linux/landlock.h)."""
OF_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
"""Those that a rule for a file may have; the others are of folders."""


def landlock(readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Hold this thread, and what it starts from now on, to these files and folders. False where the kernel cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    every = ALL_BY_ABI[min(version, max(ALL_BY_ABI))]
    handled = struct.pack("=Q", every)
    rules = libc.syscall(CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    if rules < 0:
        return False
    try:
        for path in readable:
            _allow(libc, rules, path, READ & every)
        for path in writable:
            _allow(libc, rules, path, every)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return bool(libc.syscall(RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(libc: Any, rules: int, path: Path, rights: int) -> None:
    """What is not there needs no rule."""
    try:
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= OF_FILES
        libc.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", rights, found), 0)
    finally:
        os.close(found)
