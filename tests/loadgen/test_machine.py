"""What the machine did to the client while a run went: read from made-up /proc, control groups and clocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllmperf.loadgen.control_groups import Throttling
from vllmperf.loadgen.machine import Machine

V2_MOUNT = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1_MOUNT = "31 20 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"


class Clock:
    def __init__(self, ns: int) -> None:
        self.ns = ns

    def __call__(self) -> int:
        return self.ns


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def root_with(tmp_path: Path, cgroup: str, mounts: str) -> Path:
    write(tmp_path / "proc/self/cgroup", cgroup)
    write(tmp_path / "proc/self/mountinfo", mounts)
    return tmp_path


def test_version_2_tells_its_stops_and_its_quota(tmp_path: Path) -> None:
    root = root_with(tmp_path, "0::/pod/client\n", V2_MOUNT)
    group = root / "sys/fs/cgroup/pod/client"
    write(group / "cpu.stat", "usage_usec 1\nnr_periods 100\nnr_throttled 10\nthrottled_usec 500000\n")
    write(group / "cpu.max", "20000 100000\n")
    throttling = Throttling(root)
    write(group / "cpu.stat", "usage_usec 9\nnr_periods 150\nnr_throttled 50\nthrottled_usec 3500000\n")
    assert throttling.facts() == {"periods": 50, "throttled_periods_share": 0.8, "throttled_s": 3.0}
    assert throttling.quota_cores() == 0.2


def test_version_1_tells_the_same_in_ns(tmp_path: Path) -> None:
    root = root_with(tmp_path, "4:memory:/x\n2:cpu,cpuacct:/job\n0::/\n", V1_MOUNT)
    group = root / "sys/fs/cgroup/cpu/job"
    write(group / "cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n")
    write(group / "cpu.cfs_quota_us", "50000\n")
    write(group / "cpu.cfs_period_us", "100000\n")
    throttling = Throttling(root)
    write(group / "cpu.stat", "nr_periods 10\nnr_throttled 5\nthrottled_time 250000000\n")
    assert throttling.facts() == {"periods": 10, "throttled_periods_share": 0.5, "throttled_s": 0.25}
    assert throttling.quota_cores() == 0.5


def test_a_stop_by_the_group_above_counts(tmp_path: Path) -> None:
    root = root_with(tmp_path, "0::/pod/client\n", V2_MOUNT)
    idle = "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"
    write(root / "sys/fs/cgroup/pod/client/cpu.stat", idle)
    write(root / "sys/fs/cgroup/pod/cpu.stat", idle)
    throttling = Throttling(root)
    write(root / "sys/fs/cgroup/pod/cpu.stat", "nr_periods 4\nnr_throttled 1\nthrottled_usec 1000\n")
    assert throttling.facts()["throttled_periods_share"] == 0.25


def test_a_group_that_the_namespace_hides_is_the_one_that_is_mounted(tmp_path: Path) -> None:
    root = root_with(tmp_path, "0::/\n", "30 20 0:26 /kubepods/pod7 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    write(root / "sys/fs/cgroup/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n")
    throttling = Throttling(root)
    write(root / "sys/fs/cgroup/cpu.stat", "nr_periods 2\nnr_throttled 2\nthrottled_usec 5\n")
    assert throttling.facts()["throttled_periods_share"] == 1.0


@pytest.mark.parametrize("quota", ["max 100000\n", ""])
def test_without_a_quota_there_is_none(tmp_path: Path, quota: str) -> None:
    root = root_with(tmp_path, "0::/\n", V2_MOUNT)
    write(root / "sys/fs/cgroup/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n")
    write(root / "sys/fs/cgroup/cpu.max", quota)
    assert Throttling(root).quota_cores() is None


def test_what_no_system_tells_is_unknown(tmp_path: Path) -> None:
    facts = Machine(tmp_path).facts()
    unknown = (
        "steal_share",
        "busy_share",
        "throttled_s",
        "cpu_wait_s",
        "quota_cores",
        "largest_clock_step_ms",
    )
    assert {facts[name] for name in unknown} == {None}
    assert facts["clock_steps"] == 0


def test_stolen_and_used_time_are_shares_of_all_cores(tmp_path: Path) -> None:
    write(tmp_path / "proc/stat", "cpu  100 0 0 100 0 0 0 0 0 0\ncpu0 1 1\n")
    machine = Machine(tmp_path)
    write(tmp_path / "proc/stat", "cpu  130 0 10 140 10 0 0 10 0 0\n")
    facts = machine.facts()
    assert (facts["steal_share"], facts["busy_share"]) == (pytest.approx(0.1), pytest.approx(0.4))


def test_a_wall_clock_that_is_set_is_noticed_and_one_that_is_slewed_is_not(tmp_path: Path) -> None:
    real, mono, boot = Clock(10**18), Clock(10**9), Clock(10**9)
    machine = Machine(tmp_path, real, mono, boot)
    for step_ns in (0, 200_000, -40_000_000, 0):  # 0.2 ms is the noise of two readings
        mono.ns += 500_000_000
        boot.ns += 500_000_000
        real.ns += 500_000_000 + step_ns
        machine.look()
    facts = machine.facts()
    assert (facts["clock_steps"], facts["largest_clock_step_ms"]) == (1, pytest.approx(40))
    assert facts["seconds"] == 2.0


def test_a_machine_that_slept_tells_for_how_long(tmp_path: Path) -> None:
    real, mono, boot = Clock(10**18), Clock(10**9), Clock(10**9)
    machine = Machine(tmp_path, real, mono, boot)
    boot.ns += 30_000_000_000
    assert machine.facts()["asleep_s"] == 30.0


def test_waits_of_a_thread_that_has_ended_still_count(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/task/7/schedstat", "100 1000000000 3\n")
    machine = Machine(tmp_path)
    write(tmp_path / "proc/self/task/7/schedstat", "100 3000000000 3\n")
    machine.look()
    (tmp_path / "proc/self/task/7/schedstat").unlink()
    machine.look()
    assert machine.facts()["cpu_wait_s"] == 2.0
