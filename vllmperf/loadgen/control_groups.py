"""The control groups that limit this process's CPU, version 1 and 2: how often they made it wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

UNITS = {"throttled_usec": 1e-6, "throttled_time": 1e-9}
"""Seconds in a unit of the counter: version 2, version 1."""


class Throttling:
    """Counters of each group from this process's own up to the mount point.

    root: where proc and the mounts are found.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._groups = [group for group in _groups(root) if "nr_periods" in _stat(group)]
        self._start = [_stat(group) for group in self._groups]

    def facts(self) -> dict[str, float | None]:
        """Since this was made, of the group that made the process wait longest: the periods in which it might run, the share
        of them in which it used up its quota, and for how long it waited. None without a group that counts them."""
        found = [
            _since(before, _stat(group)) for group, before in zip(self._groups, self._start, strict=True)
        ]
        names = ("periods", "throttled_periods_share", "throttled_s")
        return max(found, key=lambda one: one["throttled_s"] or 0.0) if found else dict.fromkeys(names)

    def quota_cores(self) -> float | None:
        """The narrowest quota of these groups in cores; None where there is none."""
        quotas = [quota for group in self._groups if (quota := _quota(group)) is not None]
        return min(quotas, default=None)


def _since(before: dict[str, int], now: dict[str, int]) -> dict[str, float | None]:
    change = {name: now.get(name, 0) - before.get(name, 0) for name in before}
    seconds = sum(change.get(name, 0) * unit for name, unit in UNITS.items())
    periods, throttled = change.get("nr_periods", 0), change.get("nr_throttled", 0)
    return {
        "periods": periods,
        "throttled_periods_share": throttled / periods if periods else 0.0,
        "throttled_s": seconds,
    }


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's groups, from its own upwards, in both hierarchies that know of CPUs."""
    paths = dict(_own_paths(root))
    for kind, shown, mount in _mounts(root):
        if kind not in paths:
            continue
        folder = root / mount.lstrip("/")
        own = _below(paths[kind], shown)
        yield from (folder / part for part in (own, *own.parents) if (folder / part).is_dir())


def _below(path: str, shown: str) -> PurePosixPath:
    """A group's path below what its mount shows; "." where the namespace hides it."""
    try:
        return PurePosixPath(path).relative_to(shown)
    except ValueError:
        return PurePosixPath()


def _own_paths(root: Path) -> Iterator[tuple[str, str]]:
    """("cgroup", path) of version 1's CPU hierarchy, ("cgroup2", path) of version 2."""
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" and not controllers:
            yield "cgroup2", path
        elif "cpu" in controllers.split(","):
            yield "cgroup", path


def _mounts(root: Path) -> Iterator[tuple[str, str, str]]:
    """(type, the group that it shows, where it is) of each mount of control groups that counts CPU."""
    for line in _lines(root / "proc/self/mountinfo"):
        head, mark, tail = line.partition(" - ")
        place, words = head.split(), tail.split()
        if not mark or len(place) < 5 or len(words) < 3:
            continue
        if words[0] == "cgroup2" or (words[0] == "cgroup" and "cpu" in words[2].split(",")):
            yield words[0], place[3], place[4]


def _stat(group: Path) -> dict[str, int]:
    pairs = (line.split() for line in _lines(group / "cpu.stat"))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _quota(group: Path) -> float | None:
    words = [word for line in _lines(group / "cpu.max") for word in line.split()]
    for name in () if words else ("cpu.cfs_quota_us", "cpu.cfs_period_us"):
        words += _lines(group / name)
    if len(words) != 2 or not all(word.isdigit() for word in words) or words[1] == "0":
        return None  # "max", -1
    return int(words[0]) / int(words[1])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
