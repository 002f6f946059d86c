"""A service as people run it: a process of its own, asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import urllib3

from vllmperf.sim import Server

TEXT = "\n".join(
    f"line {number}: the river carries the lantern quietly beyond the narrow bridge" for number in range(80)
)
LONG_S = 120.0
"""Until a busy machine has done anything that these tests wait for."""


class Service:
    """vllmperf serve on a free port, between start() and stop() or inside a with."""

    def __init__(self, data: Path, *flags: str, **environment: str) -> None:
        self.data, self.flags = data, flags
        self._environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment}
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(LONG_S))
        self.log = data.with_name(f"{data.name}.log")
        self.url = ""

    def start(self) -> Service:
        """Returns when it answers."""
        words = [
            sys.executable,
            "-m",
            "vllmperf",
            "serve",
            "--port",
            "0",
            "--data",
            str(self.data),
            *self.flags,
        ]
        with self.log.open("ab") as log:
            before = self.log.stat().st_size
            self.process = subprocess.Popen(words, stderr=log, stdout=log, env=self._environment)
        self.url = self._await_line(before)
        self.wait(lambda: self.is_up, "the service answers")
        return self

    def _await_line(self, before: int) -> str:
        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log.read_text()
            return re.search(r"vllmperf: (http://\S+),", self.log.read_bytes()[before:].decode())

        return str(self.wait(found, "the service says where it is")[1])

    @property
    def is_up(self) -> bool:
        try:
            return self.get("/healthz").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(LONG_S)

    def __enter__(self) -> Service:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._http.clear()

    # ---- HTTP ----

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        return self._http.request("GET", self.url + path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> urllib3.BaseHTTPResponse:
        data = body if isinstance(body, bytes) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._http.request(
            "POST", self.url + path, body=data, headers={"Content-Type": "application/json", **named}
        )

    def delete(self, path: str) -> urllib3.BaseHTTPResponse:
        return self._http.request("DELETE", self.url + path)

    def events(self, path: str) -> urllib3.BaseHTTPResponse:
        """The open stream."""
        return self._http.request("GET", self.url + path, preload_content=False)

    # ---- runs ----

    def started(self, path: str, body: Any, **headers: str) -> str:
        """The id of a run that was taken."""
        answer = self.post(path, body, **headers)
        assert answer.status == 202, answer.data
        return str(answer.json()["id"])

    def run(self, run_id: str) -> Any:
        return self.get(f"/runs/{run_id}").json()

    def until(self, run_id: str, *phases: str) -> Any:
        """The run, when it is in one of these phases."""

        def look() -> Any:
            found = self.run(run_id)
            return found if found["phase"] in phases else None

        return self.wait(look, f"run {run_id} is {' or '.join(phases)}")

    def ended(self, run_id: str) -> Any:
        return self.until(run_id, "finished", "failed", "cancelled", "interrupted")

    def wait(self, look: Any, what: str) -> Any:
        deadline_s = time.monotonic() + LONG_S
        while not (found := look()):
            assert time.monotonic() < deadline_s, f"waited {LONG_S:g} s until {what}\n{self.log.read_text()}"
            time.sleep(0.05)
        return found


def filled(folder: Path, model: Path) -> Path:
    """A data folder with the model org/model and app/sonnet.txt."""
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "sonnet.txt").write_text(TEXT)
    (folder / "org").mkdir()
    shutil.copytree(model, folder / "org" / "model")
    return folder


def payload(server: Server, **more: object) -> dict[str, object]:
    """The payload of the document, small."""
    return {
        "host": "127.0.0.1", "port": server.port, "num_prompts": 12, "request_rate": 40, "model": "org/model",
        "backend": "openai-chat", "endpoint": "/v1/chat/completions", "dataset_path": "app/sonnet.txt",
        "dataset_name": "sonnet", "sonnet_input_len": 250, "sonnet_prefix_len": 90, "sonnet_output_len": 2, **more,
    }  # fmt: skip
