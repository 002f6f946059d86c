"""vllmperf aggregate: one load over three services, each beside a simulator, and one result."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

pytest.importorskip("fastapi", reason="the extra service is not installed")

import vllmperf
from vllmperf import sim
from vllmperf.cli import main
from vllmperf.errors import TargetError, UsageError
from vllmperf.run import Run
from vllmperf.service.aggregate import aggregate, load_of
from vllmperf.service.peers import Peer, named, wait_for

TOKEN = "0123456789abcdef"
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
LOAD = {"num_prompts": 40, "request_rate": 100, "input_len": 20, "output_len": 3, "seed": 5}
START_IN_S = 15.0


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    """A simulator at one port of each host, as the replicas of a chart have theirs."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(sim.Server(host=HOSTS[0], ttft_ms=1, itl_ms=1))
        for host in HOSTS[1:]:
            stack.enter_context(sim.Server(host=host, port=first.port, ttft_ms=1, itl_ms=1))
        yield first.port


@pytest.fixture(scope="module")
def peers(server_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Peer]]:
    """Three services with a token, at one port as the pods of a chart."""
    folder = tmp_path_factory.mktemp("services")
    environ = {**os.environ, "VLLMPERF_TOKEN": TOKEN}
    port: int | None = 0
    running: list[_Service] = []
    try:
        for host in HOSTS:
            words = [
                "serve",
                f"--host={host}",
                f"--port={port}",
                f"--data={folder / host}",
                f"--allow-target={host}:{server_port}",
            ]
            running.append(
                _Service([sys.executable, "-m", "vllmperf", *words], environ, folder / f"{host}.log")
            )
            port = port or urlsplit(running[0].url()).port
        urls = [service.url() for service in running]
        yield wait_for(lambda: urls, 3, TOKEN, 60.0, print)
    finally:
        for service in running:
            service.end()


class _Service:
    """A process whose log tells its URL."""

    def __init__(self, command: list[str], environ: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(command, env=environ, stdout=file, stderr=file)

    def url(self) -> str:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._process.poll() is None:
            found = [word for word in self._log.read_text().split() if word.startswith("http://127.")]
            if found:
                return found[0].rstrip("/.,")
            time.sleep(0.2)
        raise AssertionError(self._log.read_text())

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(60)


def sent(path: Path) -> dict[int, int]:
    """The bytes of each request's body, by its number."""
    with sqlite3.connect(path) as db:
        return dict(db.execute('SELECT "index", bytes_sent FROM requests'))


def plan(server_port: int, **more: object) -> dict[str, object]:
    return {"kind": "bench", "plan": {**LOAD, "base_url": f"http://localhost:{server_port}", **more}}


def test_the_merged_run_is_the_sum_of_its_parts_and_the_traffic_of_the_plan(
    peers: list[Peer], server_port: int, tmp_path: Path
) -> None:
    said: list[str] = []
    found = aggregate(load_of(plan(server_port)), peers, tmp_path, START_IN_S, said.append)
    parts = [Run(tmp_path / f"share-{i}.vllmperf").summary for i in range(3)]
    summary = found.summary
    assert [part["requests"]["completed"] for part in parts] == [14, 13, 13]
    assert summary["requests"]["completed"] == summary["requests"]["asked"] == 40
    for kind in ("prompt", "output"):
        assert summary["tokens"][kind] == sum(part["tokens"][kind] for part in parts)
    targets = summary["targets"]
    assert targets is not None
    assert [one["base_url"] for one in targets] == [f"http://{host}:{server_port}" for host in HOSTS]
    assert [one["completed"] for one in targets] == [14, 13, 13]
    assert said[-1].startswith("40 of 40 requests")
    alone = tmp_path / "alone.vllmperf"
    vllmperf.bench(f"http://{HOSTS[0]}:{server_port}", record=alone, **LOAD)
    assert sent(tmp_path / "run.vllmperf") == sent(alone)


def test_the_command_writes_one_result_for_each_load(
    peers: list[Peer], server_port: int, tmp_path: Path
) -> None:
    payload = {
        "num_prompts": 12,
        "request_rate": "inf",
        "backend": "openai",
        "dataset_name": "random",
        "model": "sim",
    }
    lengths = {
        "random_input_len": 8,
        "random_output_len": 2,
        "port": server_port,
        "percentile_metrics": "ttft",
    }
    specs = tmp_path / "specs.yaml"
    specs.write_text(yaml.safe_dump({"benchmarkSpecs": [{**payload, **lengths}, plan(server_port)]}))
    words = [word for peer in peers for word in ("--peer", peer.url)]
    done = subprocess.run(
        [sys.executable, "-m", "vllmperf", "aggregate", f"--specs={specs}", *words, f"--data={tmp_path}"],
        env={**os.environ, "VLLMPERF_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = sorted((tmp_path / "aggregate").iterdir())
    (result,) = first.glob("openai-infqps-sim-*.json")
    assert yaml.safe_load(result.read_text())["completed"] == 12
    assert Run(second / "run.vllmperf").summary["requests"]["completed"] == 40
    assert len(list(second.glob("*.html"))) == 1


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What a resolver knows beside the machine's own."""
    known: dict[str, list[str]] = {}
    of_machine = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        addresses = known.get(host, [host])
        return [found for address in addresses for found in of_machine(address, port, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


def test_the_command_finds_its_generators_by_a_name_with_several_addresses(
    peers: list[Peer],
    server_port: int,
    names: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names["bench-pods.bench.svc"] = [HOSTS[1], HOSTS[0]]
    specs = tmp_path / "specs.yaml"
    specs.write_text(json.dumps({"benchmarkSpecs": [plan(server_port)]}))
    monkeypatch.setenv("VLLMPERF_TOKEN", TOKEN)
    found = ["--dns=bench-pods.bench.svc", f"--port={urlsplit(peers[0].url).port}", "--replicas=2"]
    assert main(["aggregate", f"--specs={specs}", *found, f"--data={tmp_path}"]) == 0
    (whole,) = (tmp_path / "aggregate").glob("*/run.vllmperf")
    targets = Run(whole).summary["targets"]
    assert targets is not None
    assert [one["base_url"] for one in targets] == [f"http://{host}:{server_port}" for host in HOSTS[:2]]
    assert [one["completed"] for one in targets] == [20, 20]


def test_a_pod_with_addresses_of_both_families_is_one_generator(names: dict[str, list[str]]) -> None:
    names["pods"] = ["fd00::2", "fd00::1", "10.0.0.1", "10.0.0.2"]
    assert named("pods", 8081)() == ["http://[fd00::1]:8081", "http://[fd00::2]:8081"]


def test_a_name_without_an_address_is_waited_for_and_said(names: dict[str, list[str]]) -> None:
    def say(line: str) -> None:
        said.append(line)
        names["pods.invalid"] = ["127.0.0.9"]

    said: list[str] = []
    with pytest.raises(TargetError, match=r"0 of 2 generators are ready, not http://127\.0\.0\.9:1 \("):
        wait_for(named("pods.invalid", 1), 2, TOKEN, 1.0, say)
    assert said[0].startswith("0 of 2 generators are ready, pods.invalid has no address (")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give the generators: --peer URL for each, or --dns NAME or --pods SELECTOR with --replicas N"),
        (["--dns=a", "--pods=b", "--replicas=2"], "give the generators"),
        (["--dns=a"], "--dns needs --replicas: how many generators there must be before a load begins"),
        (["--pods=a"], "--pods needs --replicas"),
    ],
)
def test_one_way_to_find_the_generators_is_asked_for(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "specs.yaml").write_text(json.dumps({"benchmarkSpecs": [plan(1)]}))
    assert main(["aggregate", f"--specs={tmp_path / 'specs.yaml'}", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_signal_ends_the_run_everywhere_and_keeps_what_came(
    peers: list[Peer], server_port: int, tmp_path: Path
) -> None:
    def say(line: str) -> None:
        if "0 of 40" not in line and " of 40" in line and not has_ended:
            has_ended.append(line)
            signal.raise_signal(signal.SIGINT)

    has_ended: list[str] = []
    load = load_of(plan(server_port, request_rate=1.0, duration=40.0))
    found = aggregate(load, peers, tmp_path, START_IN_S, say)
    assert found.recording.state == "interrupted"
    assert 0 < found.summary["requests"]["completed"] < 40
    assert all(peer.why_not_ready() is None for peer in peers)


def test_a_generator_that_is_busy_or_away_ends_it_in_one_line(
    peers: list[Peer], server_port: int, tmp_path: Path
) -> None:
    long = {**LOAD, "base_url": f"http://{HOSTS[1]}:{server_port}", "request_rate": 1.0}
    busy = peers[1].start({"kind": "bench", "plan": long})
    try:
        with pytest.raises(TargetError, match=f"{peers[1].url} is busy with other runs"):
            aggregate(load_of(plan(server_port)), peers, tmp_path, 3.0, print)
    finally:
        peers[1].cancel(busy)
    with pytest.raises(TargetError, match=r"0 of 1 generators are ready, not http://127\.0\.0\.9:1"):
        wait_for(lambda: ["http://127.0.0.9:1"], 1, TOKEN, 0.0, print)
    with pytest.raises(TargetError, match=f"{peers[0].url}: VLLMPERF_TOKEN is not the token"):
        Peer(peers[0].url, "wrong-token-0123").start({"kind": "bench", "plan": long})
    with pytest.raises(TargetError, match=r" 40[03] "):
        peers[0].start({"kind": "bench", "plan": {**long, "base_url": "http://127.0.0.77:1"}})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "sweep", "sweep": {}}, "a sweep is not split over replicas"),
        ({"kind": "bench"}, "plan must be an object"),
        ({"kind": "bench", "plan": {"num_prompts": 3}}, r"plan\.base_url is missing"),
        ({"num_promts": 3}, "no such key num_promts: did you mean num_prompts?"),
        ({"stress": True}, "stress is not split"),
        ({"model": "m", "best_of": 3}, "no such key best_of"),
    ],
)
def test_a_load_that_is_not_split_is_refused(body: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        load_of(body)


def test_a_server_that_is_not_beside_the_generators_gets_the_shares_of_all() -> None:
    load = load_of({"model": "m", "host": "vllm.models.svc", "port": 8000})
    assert load.at(Peer("http://10.0.0.1:8081", None)) == "http://vllm.models.svc:8000"
    beside = load_of({"model": "m", "host": "localhost", "port": 8000})
    assert beside.at(Peer("http://10.0.0.1:8081", None)) == "http://10.0.0.1:8000"
    assert beside.at(Peer("http://[fd00::1]:8081", None)) == "http://[fd00::1]:8000"
