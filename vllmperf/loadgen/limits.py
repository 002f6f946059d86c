"""Limits of this machine that a run may meet: open files and local ports."""

from __future__ import annotations

import resource
from pathlib import Path

from vllmperf.errors import SettingError

SPARE_FILES = 64
"""Descriptors beside the connections and what is open already: the engine's threads, the run file and its journal."""
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
INSTEAD_OF_SIM = "start the simulator by itself (vllmperf sim) and give its {base_url}"


def make_room(connections: int, n_addresses: int = 1, is_inside: bool = False) -> None:
    """Raise the soft limit of open files to the hard one, and see that the run's connections fit.

    connections: that the run surely has at once, to n_addresses of the server. is_inside: the server is in this process,
    which then holds both ends of each. Raises UsageError when they do not fit.
    """
    _check_files(connections, is_inside)
    _check_ports(connections, n_addresses)


def _check_files(connections: int, is_inside: bool) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ends = 2 if is_inside else 1
    rest = _open_files() + SPARE_FILES
    need = connections * ends + rest
    if hard in (resource.RLIM_INFINITY, -1) or need <= hard:
        return
    both = ", both ends of each, since the simulator runs in this process" if is_inside else ""
    most = max((hard - rest) // ends, 1)
    remedies = [f"lower {{max_concurrency}} to {most}", *([INSTEAD_OF_SIM] if is_inside else [])]
    raise SettingError(
        f"{connections} connections need {need} open files{both}; the limit is {hard}: "
        f"{', '.join(remedies)}, or raise the limit (ulimit -Hn, LimitNOFILE)"
    )


def _check_ports(connections: int, n_addresses: int) -> None:
    """Each connection to one address and port needs a local port of its own."""
    ports = _local_ports()
    if ports is None or connections <= ports * n_addresses:
        return
    raise SettingError(
        f"{connections} connections to {_addresses(n_addresses)} need as many local ports; this machine has "
        f"{ports} for each: lower {{max_concurrency}} to {ports * n_addresses}, or allow more "
        "(sysctl -w net.ipv4.ip_local_port_range='1024 65535')"
    )


def _addresses(n: int) -> str:
    return "one address" if n == 1 else f"{n} addresses"


def _open_files() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # not Linux
        return 0


def _local_ports() -> int | None:
    """How many the kernel gives out; None where it does not say."""
    try:
        low, high = map(int, PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        return None
    return high - low + 1
