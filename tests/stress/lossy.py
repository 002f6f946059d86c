"""A run at a simulated server that goes and comes back, and what both wrote down."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

import vllmperf as vp
from vllmperf.loadgen.recorded import record_run, resume_run
from vllmperf.loadgen.task import Task
from vllmperf.record.unfinished import unfinished

PREFIX = "mine-"
LONGEST_S = 120


class Lives:
    """One server after the other at one port, each with a truth file of its own."""

    def __init__(self, folder: Path, port: int, **settings: object) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._folder, self._settings = folder, {"port": port, "ttft_ms": 20, "itl_ms": 5, **settings}
        self.truths: list[Path] = []
        self._server: vp.sim.Server | None = None

    def begin(self) -> None:
        self.truths.append(self._folder / f"truth{len(self.truths)}")
        self._server = vp.sim.Server(truth=str(self.truths[-1]), **self._settings).start()

    def end(self) -> None:
        if self._server:
            self._server.stop()
        self._server = None

    def seen(self) -> list[Counter[str]]:
        """How often each life saw each request."""
        self.end()
        lives = ([json.loads(line) for line in truth.read_text().splitlines()] for truth in self.truths)
        return [
            Counter(row["request_id"] for row in rows if row["path"].endswith("completions"))
            for rows in lives
        ]


class Running:
    """A run in a thread of its own; its notices are events."""

    def __init__(self, path: Path, resume: bool = False, **settings: object) -> None:
        self.path, self.notices, self._settings = path, [], settings
        self.is_gone, self.error, self.run = threading.Event(), None, None
        self._thread = threading.Thread(target=self._carry_out, args=(resume,), daemon=True)
        self._thread.start()

    def _carry_out(self, resume: bool) -> None:
        try:
            if resume:
                before = unfinished(self.path)
                task = Task.of(self._settings)
                self.run = resume_run(task, before, notice=self._note)
            else:
                self.run = record_run(Task.of(self._settings), self.path, notice=self._note)
        except BaseException as error:
            self.error = error

    def _note(self, words: str) -> None:
        self.notices.append(words)
        if "gone" in words:
            self.is_gone.set()

    def wait_for(self, n: int) -> None:
        until = time.monotonic() + LONGEST_S
        while len(recorded(self.path)) < n:
            assert time.monotonic() < until
            assert self._thread.is_alive(), self.error
            time.sleep(0.01)

    def result(self) -> vp.Run:
        self._thread.join(LONGEST_S)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error
        return self.run


def recorded(path: Path) -> dict[int, str]:
    """Outcome of each request in a run file."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return dict(db.execute('SELECT "index", outcome FROM requests'))
    except sqlite3.Error:
        return {}
