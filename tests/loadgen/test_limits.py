"""What this machine cannot carry is said before the run, in one line that tells what to do."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from vllmperf.errors import UsageError
from vllmperf.loadgen import limits
from vllmperf.loadgen.feed import Feeder
from vllmperf.loadgen.schedule import Schedule
from vllmperf.loadgen.session import connections


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A hard limit of 1,000 files, 30 of them open, and 500 local ports. Gives what the limit was set to."""
    set_to: list[tuple[int, int]] = []
    ports = tmp_path / "ports"
    ports.write_text("10000\t10499\n")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 1000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, to: set_to.append(to))
    monkeypatch.setattr(limits, "_open_files", lambda: 30)
    monkeypatch.setattr(limits, "PORT_RANGE", ports)
    return set_to


def test_the_soft_limit_is_raised_to_the_hard_one(machine):
    limits.make_room(10)
    assert machine == [(1000, 1000)]


def test_too_many_connections_for_the_open_files_name_how_many_would_do(machine):
    limits.make_room(906, n_addresses=9)
    with pytest.raises(UsageError) as caught:
        limits.make_room(907, n_addresses=9)
    assert str(caught.value) == (
        "907 connections need 1001 open files; the limit is 1000: lower max_concurrency to 906, "
        "or raise the limit (ulimit -Hn, LimitNOFILE)"
    )


def test_both_ends_count_when_the_simulator_runs_inside(machine):
    limits.make_room(453, is_inside=True)
    with pytest.raises(UsageError, match="both ends of each") as caught:
        limits.make_room(454, is_inside=True)
    assert "lower max_concurrency to 453, start the simulator by itself (vllmperf sim)" in str(caught.value)


def test_each_address_has_the_local_ports_once(machine):
    limits.make_room(500)
    limits.make_room(900, n_addresses=2)
    with pytest.raises(UsageError) as caught:
        limits.make_room(501)
    assert str(caught.value) == (
        "501 connections to one address need as many local ports; this machine has 500 for each: "
        "lower max_concurrency to 500, or allow more (sysctl -w net.ipv4.ip_local_port_range='1024 65535')"
    )


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3"])
def test_a_port_range_that_is_not_told_limits_nothing(machine, text):
    limits.PORT_RANGE.write_text(text)
    limits.make_room(900)


def test_an_endless_limit_is_none(machine, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    limits.make_room(10**6, n_addresses=10**6)
    assert machine == []


@pytest.mark.parametrize(
    ("n", "times", "cap", "warm", "connected"),
    [
        (20, None, 5000, 0, 20),  # no more than there are requests
        (20, None, 7, 0, 7),
        (1000, None, 0, 0, 1000),  # all at once
        (1000, iter(()), 0, 0, 0),  # nobody knows
        (20, iter(()), 0, 9, 9),
        (None, None, 7, 0, 7),
    ],
)
def test_a_run_needs_the_connections_that_it_surely_has_at_once(n, times, cap, warm, connected):
    config = {"max_concurrency": cap, "warm_connections": warm}
    assert connections(config, Feeder(iter(()), Schedule(n, times))) == connected


LIMITED = """
import resource, sys
from vllmperf.cli import main
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 400))
raise SystemExit(main(["bench", *sys.argv[1:]]))
"""


def limited(words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIMITED, *words.split()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_inside_simulators_descriptors_are_counted():
    done = limited("--sim --max-concurrency 300 --num-prompts 300 --output-len 2 --no-progress")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vllmperf: error: 300 connections need ")
    assert "both ends" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_that_just_fits_is_recorded_whole():
    done = limited("--sim --max-concurrency 140 --num-prompts 140 --output-len 2 --no-progress --json")
    assert done.returncode in (0, 1), done.stderr
    assert '"completed": 140' in done.stdout


@pytest.mark.slow
def test_an_open_loop_that_takes_every_descriptor_still_writes_its_run_file(tmp_path):
    path = tmp_path / "run.vllmperf"
    words = f"--sim ttft_ms=400 --request-rate 2000 --num-prompts 900 --output-len 2 --record {path}"
    done = limited(words + " --no-progress --json")
    assert done.returncode in (0, 1), done.stderr
    assert path.exists()
    assert '"local_fault"' in done.stdout  # it did run out of them
