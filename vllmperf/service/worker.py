"""The process that carries out one run: python -m vllmperf.service.worker FOLDER, in the data folder.

stdin: a line of JSON with what must not stand in a file, then nothing until the service is gone. stdout: an event a line.
stderr, and what a run prints: FOLDER/log.txt. SIGINT once: stop sending, keep what came; twice: cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vllmperf.errors import VllmperfError
from vllmperf.exit_codes import INTERRUPTED, OK
from vllmperf.service.guard.cell import enter_cell
from vllmperf.service.guard.secrets import Secrets
from vllmperf.service.jobs import RUNNING, WAITING
from vllmperf.service.kinds import CARRY_OUT, Outcome, Work
from vllmperf.service.payload import in_keys
from vllmperf.service.request import BEGIN_AGAIN
from vllmperf.service.rows import INTERVALS
from vllmperf.service.store import END, JOB, WORKER_LOCK
from vllmperf.whole_file import write_whole

GRACE_S = 35.0
"""What a run has to end in when the service is gone, before it is cut."""
CUT_S = 5.0


def main(words: Sequence[str]) -> int:
    folder = Path(words[0])
    say = Events(folder / INTERVALS)
    if not (line := sys.stdin.readline()):  # the service is gone before it said anything
        return INTERRUPTED
    told = json.loads(line)
    enter_cell(Path.cwd(), folder, told.get("cell", {}))  # before there are threads: it holds those to come
    say.secrets = Secrets.of(told.get("secrets"))
    say.secrets.keep_out_of(2, 1)
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    try:
        with _alone(folder, say):
            (folder / END).unlink(missing_ok=True)
            if job["kind"] in BEGIN_AGAIN:
                (folder / INTERVALS).write_bytes(b"")
            work = Work(
                folder,
                job["request"],
                told.get("secrets", {}),
                job["kind"],
                say,
                told.get("ready_timeout_s", 0.0),
                _finish,
            )
            outcome = _outcome(work)
            end = {"event": "end", **outcome.told()}
            words = say.secrets.hidden(json.dumps(end).encode()).decode()
            write_whole(folder / END, words + "\n")  # for the next service, when this one is gone
    except KeyboardInterrupt:  # while it waited for another one
        return INTERRUPTED
    say(end)
    return outcome.exit_code if outcome.exit_code is not None else OK


def _outcome(work: Work) -> Outcome:
    try:
        return CARRY_OUT[work.kind](work)
    except KeyboardInterrupt:
        return Outcome(INTERRUPTED, "interrupted before the load was over")
    except VllmperfError as error:
        words = in_keys(" ".join(str(error).split()))
        print(f"vllmperf: error: {words}", file=sys.stderr, flush=True)
        return Outcome(error.exit_code, words)


class Events:
    """Lines of JSON on the process's stdout; what others print goes to stderr from now on. Rows go to a file, too."""

    def __init__(self, rows: Path) -> None:
        sys.stdout.flush()
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)
        self._rows = rows.open("a", encoding="utf-8", buffering=1)
        self.secrets = Secrets([])

    def __call__(self, event: Mapping[str, Any]) -> None:
        line = self.secrets.hidden(json.dumps(event, allow_nan=False).encode()).decode()
        # A service that is gone reads nothing: the run ends by _outlive_nobody, not by a broken pipe.
        with contextlib.suppress(OSError):
            self._out.write(line + "\n")
        if event["event"] == "interval":
            self._rows.write(
                json.dumps({name: value for name, value in event.items() if name != "event"}) + "\n"
            )


def _finish() -> None:
    """The load is over: what it gave is worth the seconds that its report takes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _outlive_nobody() -> None:
    """End the run when the service is gone: its end of stdin closes."""
    while sys.stdin.readline():
        pass
    for wait_s in (GRACE_S, CUT_S):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(wait_s)
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def _alone(folder: Path, say: Events) -> Iterator[None]:
    """The run's folder for this worker: that of a service which was killed may be at its end still."""
    with (folder / WORKER_LOCK).open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(
                {
                    "event": "phase",
                    "phase": WAITING,
                    "note": "the worker of the service before this one is ending",
                }
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        say({"event": "phase", "phase": RUNNING, "note": ""})
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
