"""What scripts/bench/stress_faults breaks: a simulated server, an S3 server, and a stress run by command or by service."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from simulated import client_core, on_core, served

LONGEST_S = 120.0
Memory = list[tuple[float, float]]
"""(s since the start of a process, its resident MB)."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """Lives of the simulated server at one port, each with a truth file of its own."""

    def __init__(self, folder: Path, ttft_ms: float, itl_ms: float) -> None:
        self._port = free_port()
        self._folder, self._times = folder, ["--ttft-ms", str(ttft_ms), "--itl-ms", str(itl_ms)]
        self._life = ExitStack()
        self.url = f"http://127.0.0.1:{self._port}"
        self.truths: list[Path] = []

    def begin(self) -> None:
        self.truths.append(self._folder / f"truth.{len(self.truths) + 1}")
        command = [sys.executable, "-m", "vllmperf", "sim", "--port", str(self._port), *self._times]
        self._life.enter_context(served([*command, "--truth", str(self.truths[-1])]))

    def end(self) -> None:
        """Its truth file is whole then: requests in flight are in it as cut off."""
        self._life.close()


class Bucket:
    """A real S3 server (versitygw) over a folder, with one bucket; objects are plain files in it."""

    NAME = "results"

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._port, self._log = program, free_port(), folder / "s3.log"
        self.data = folder / "s3"
        (self.data / self.NAME).mkdir(parents=True, exist_ok=True)
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For whoever writes to it."""
        keys = {"AWS_ACCESS_KEY_ID": "stress", "AWS_SECRET_ACCESS_KEY": "stress-secret"}
        endpoint = {"BENCHMARK_RESULTS_ENDPOINT": f"http://127.0.0.1:{self._port}"}
        return {
            **keys,
            **endpoint,
            "BENCHMARK_RESULTS_BUCKET": self.NAME,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def begin(self) -> None:
        own = {"ROOT_ACCESS_KEY": "stress", "ROOT_SECRET_KEY": "stress-secret"}
        words = [self._program, "--port", f"127.0.0.1:{self._port}", "posix", str(self.data)]
        with self._log.open("ab") as out:
            self._child = subprocess.Popen(words, env={**os.environ, **own}, stdout=out, stderr=out)

    def end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._child = None

    def objects(self) -> dict[str, Path]:
        """By key."""
        top = self.data / self.NAME
        files = (path for path in top.rglob("*") if path.is_file() and ".sgwtmp" not in path.parts)
        return {str(path.relative_to(top)): path for path in sorted(files)}


class Client(Protocol):
    """Who makes the stress run. memory: of each of its processes."""

    memory: list[Memory]

    @property
    def run(self) -> Path: ...
    def begin(self) -> None: ...
    def kill(self) -> None:
        """With -9; begin() goes on then."""

    def wait(self) -> int: ...
    def end(self) -> None: ...


class Command:
    """`vllmperf stress`, the same words again after each kill."""

    def __init__(self, settings: Mapping[str, Any], folder: Path, environment: Mapping[str, str]) -> None:
        self.run = folder / "run.vllmperf"
        self._words = ["--record", str(self.run), "--no-progress"]
        for name, value in settings.items():
            self._words += [f"--{name.replace('_', '-')}", str(value)]
        self._log, self._environment = folder / "client.log", {**os.environ, **environment}
        self.memory: list[Memory] = []
        self._child: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        with self._log.open("ab") as out:
            command = on_core(client_core(), [sys.executable, "-m", "vllmperf", "stress", *self._words])
            self._child = subprocess.Popen(command, stdout=out, stderr=out, env=self._environment)
        watch(self._child, self.memory)

    def kill(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGKILL)
        self._child.wait()

    def wait(self) -> int:
        assert self._child is not None
        return self._child.wait()

    def end(self) -> None:
        """It has ended by itself."""


class Service:
    """`vllmperf serve` with a run of kind stress; what is killed is the service, whose run goes on with the next one."""

    def __init__(self, settings: Mapping[str, Any], folder: Path, environment: Mapping[str, str]) -> None:
        self._data, self._settings, self._port = folder / "data", settings, free_port()
        self._log, self._environment = folder / "client.log", {**os.environ, **environment}
        self._child: subprocess.Popen[bytes] | None = None
        self._id = ""
        self.memory: list[Memory] = []

    @property
    def run(self) -> Path:
        return self._data / "runs" / self._id / "run.vllmperf"

    def begin(self) -> None:
        words = ["serve", "--port", str(self._port), "--data", str(self._data)]
        self._data.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as out:
            command = on_core(client_core(), [sys.executable, "-m", "vllmperf", *words])
            self._child = subprocess.Popen(command, stdout=out, stderr=out, env=self._environment)
        self._await_health()
        if not self._id:
            self._id = str(self._ask("/runs", {"kind": "stress", "stress": dict(self._settings)})["id"])
        threading.Thread(target=self._watch_worker, daemon=True).start()

    def _await_health(self) -> None:
        until = time.monotonic() + LONGEST_S
        while True:
            try:
                self._ask("/healthz")
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"http://127.0.0.1:{self._port}{path}", data, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=30) as answer:
                found: dict[str, Any] = json.load(answer)
        except HTTPError as error:
            raise SystemExit(f"{path}: {error.read().decode()}") from None
        return found

    def _watch_worker(self) -> None:
        """The next process of the run, which is that of a service that was killed until it has ended."""
        began = time.monotonic()
        while (pid := worker_of(self.run.parent)) is None:
            if time.monotonic() > began + LONGEST_S:
                return
            time.sleep(0.2)
        self.memory.append([])
        while rss := resident_mb(pid):
            self.memory[-1].append((time.monotonic() - began, rss))
            time.sleep(1)

    def kill(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGKILL)
        self._child.wait()

    def wait(self) -> int:
        while True:
            run = self._ask(f"/runs/{self._id}")
            if run["ended_at"] is not None:
                return 0 if run["phase"] == "finished" else 1
            time.sleep(1)

    def end(self) -> None:
        assert self._child is not None
        self._child.terminate()
        self._child.wait()


def worker_of(folder: Path) -> int | None:
    """The process that carries out the run in this folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"vllmperf.service.worker" in words and str(folder.absolute()).encode() in words:
            return int(path.parent.name)
    return None


def watch(child: subprocess.Popen[bytes], memory: list[Memory]) -> None:
    """Look at the memory of a process each second, as long as it lives."""
    samples: Memory = []
    memory.append(samples)

    def look() -> None:
        began = time.monotonic()
        while child.poll() is None:
            if rss := resident_mb(child.pid):
                samples.append((time.monotonic() - began, rss))
            time.sleep(1)

    threading.Thread(target=look, daemon=True).start()


def resident_mb(pid: int) -> float | None:
    try:
        words = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(words["VmRSS"].split()[0]) / 1024
    except (OSError, KeyError, ValueError):
        return None  # it has just ended
