"""Files that are on their way to a bucket: noted beside the local copy, uploaded when the server takes them, kept until then."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllmperf.bucket import client, journal
from vllmperf.bucket.journal import LOST, UPLOADED, WAITING, Upload
from vllmperf.bucket.place import Place
from vllmperf.bucket.send import PART_BYTES, TakenError, forget, send
from vllmperf.bucket.snapshot import recover, snapshot
from vllmperf.bucket.trouble import BucketError, Patience, Stop, told
from vllmperf.errors import UsageError

Connect = Callable[[str | None], AbstractContextManager[Any]]
WITHIN_S = 300.0
GRACE_S = 5.0
"""For the last words with a server when the time is over; who does not answer then is left alone."""
NICENESS = 10
MOST_NAMES = 100


def _never() -> bool:
    return False


class Outbox:
    """The uploads of a folder. Several processes and threads may use one folder at a time.

    connect, part_bytes: for tests."""

    def __init__(
        self, folder: Path, connect: Connect = client.connected, part_bytes: int = PART_BYTES
    ) -> None:
        self.folder = Path(folder)
        self._connect, self._part_bytes = connect, part_bytes

    def add(self, path: Path, to: Place, *, replace: bool = False, is_copy: bool = False) -> None:
        """Note that a finished file goes to a key. Nothing is sent yet.

        replace: over what is there; without it a key that is taken gets a number (name-2.json). is_copy: the file goes when its
        upload is confirmed."""
        path = path.absolute()
        kept = (
            str(path.relative_to(self.folder.absolute()))
            if path.is_relative_to(self.folder.absolute())
            else str(path)
        )
        new = Upload(kept, str(to), to.endpoint, replace=replace, is_copy=is_copy)
        self.folder.mkdir(parents=True, exist_ok=True)

        def noted(uploads: list[Upload]) -> list[Upload]:
            return [*(one for one in uploads if one.to != new.to), _after(uploads, new)]

        journal.edit(self.folder, noted)

    def add_snapshot(self, run_file: Path, to: Place) -> None:
        """Note the present state of a run file that is being written: a consistent copy of it, which replaces an earlier one
        there and here, and is deleted when it is uploaded."""
        self.folder.mkdir(parents=True, exist_ok=True)
        copy = self.folder / f".snapshot-{run_file.name}"
        snapshot(run_file, copy)
        self.add(copy, to, replace=True, is_copy=True)

    def withdraw(self, places: Iterable[Place]) -> None:
        """Forget that something goes there, as far as it has not gone."""
        names = {str(to) for to in places}
        journal.edit(
            self.folder,
            lambda uploads: [one for one in uploads if one.to not in names or one.state != WAITING],
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it nobody uploads from this folder; it ends with the process, however that ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with journal.uploading(self.folder):
            yield

    @property
    def uploads(self) -> list[Upload]:
        """All that were noted, with what became of them."""
        return journal.read(self.folder)

    @property
    def waiting(self) -> list[Upload]:
        """Those that are not confirmed yet."""
        return [one for one in self.uploads if one.state == WAITING]

    def upload(self, stop: Callable[[], bool] = _never, within_s: float = WITHIN_S) -> list[Upload]:
        """Upload what waits; gives what still waits then, each with the reason. Nothing that a server does is an exception.

        It ends after within_s, or soon after stop() is true; a Ctrl-C ends it, too. It does nothing while another process or
        thread uploads from this folder. A niced thread does the work. Raises UsageError when the journal fails."""
        if not self.waiting:
            return []
        has_ended, problems = threading.Event(), list[UsageError]()
        patience = Patience(lambda: has_ended.is_set() or stop())
        thread = threading.Thread(target=self._upload, args=(patience, problems), name="upload", daemon=True)
        thread.start()
        try:
            _wait(thread, stop, within_s)
        finally:
            has_ended.set()
        thread.join(GRACE_S)
        if problems:
            raise problems[0]
        return self.waiting

    def _upload(self, patience: Patience, problems: list[UsageError]) -> None:
        with suppress(OSError):  # Linux: of this thread alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            with suppress(Stop), journal.uploading(self.folder) as may:
                servers = dict.fromkeys(one.endpoint for one in self.waiting) if may else {}
                for endpoint in servers:
                    self._upload_to(endpoint, patience)
        except UsageError as error:  # the journal cannot be written
            problems.append(error)
        except OSError as error:
            problems.append(UsageError(f"{self.folder}: {error.strerror or error}"))

    def _upload_to(self, endpoint: str | None, patience: Patience) -> None:
        waiting = [one for one in self.waiting if one.endpoint == endpoint]
        refused: dict[str, str] = {}
        try:
            with self._connect(endpoint) as connected:
                for one in waiting:
                    patience()
                    if one.place.bucket in refused:
                        self._change(one, error=refused[one.place.bucket])
                    elif (trouble := self._try(connected, one, patience)) is not None and trouble.is_general:
                        refused[one.place.bucket] = str(trouble)
        except (UsageError, BucketError) as error:  # no boto3, no profile
            for one in waiting:
                self._change(one, error=str(error))

    def _try(self, connected: Any, one: Upload, patience: Patience) -> BucketError | None:
        """Upload one and note how that went."""
        path = self.folder / one.path
        if not path.is_file():
            self._change(one, state=LOST, error=f"{path} is gone")
            return None
        try:
            recover(path)
            self._forget_parts(connected, one)
            one = self._sent(connected, one, path, patience)
        except Stop:
            self._change(one, attempts=one.attempts + 1, error="it took too long, or was stopped")
            raise
        except Exception as error:
            trouble = error if isinstance(error, BucketError) else told(error, one.place)
            self._change(one, attempts=one.attempts + 1, error=str(trouble))
            return trouble
        if one.is_copy and self._is_latest(one):
            path.unlink(missing_ok=True)
        return None

    def _sent(self, connected: Any, one: Upload, path: Path, patience: Patience) -> Upload:
        """Under the first of name.json, name-2.json, … that is free."""
        for to in _names(one.to):
            try:
                content = send(
                    *(connected, path, replace(one, to=to).place, patience),
                    self._note_of(one, replace(one, to=to).place.key),
                    replace=one.replace,
                    part_bytes=self._part_bytes,
                )
            except TakenError:
                continue
            done = {"to": to, "state": UPLOADED, "size_bytes": content.size_bytes}
            self._change(one, **done, attempts=one.attempts + 1, error=None, parts=None)
            return replace(one, to=to)
        raise BucketError(f"{one.to} and {MOST_NAMES} names like it are taken", is_general=False)

    def _forget_parts(self, connected: Any, one: Upload) -> None:
        """Of a process that was killed while it sent parts."""
        if one.parts is not None:
            key, part_id = one.parts
            forget(connected, {"Bucket": one.place.bucket, "Key": key}, part_id)
            self._change(one, parts=None)

    def _note_of(self, one: Upload, key: str) -> Callable[[str | None], None]:
        return lambda part_id: self._change(one, parts=part_id and (key, part_id))

    def _change(self, one: Upload, **values: Any) -> None:
        """Of this version alone: a newer one of the same file goes on waiting."""

        def changed(uploads: list[Upload]) -> list[Upload]:
            return [replace(each, **values) if _is_same(each, one) else each for each in uploads]

        journal.edit(self.folder, changed)

    def _is_latest(self, one: Upload) -> bool:
        return any(_is_same(each, one) for each in self.uploads)


def _wait(thread: threading.Thread, stop: Callable[[], bool], within_s: float) -> None:
    end = time.monotonic() + within_s
    while thread.is_alive() and time.monotonic() < end and not stop():
        thread.join(0.1)


def outboxes(root: Path) -> list[Outbox]:
    """A folder and the folders in it, where these have uploads."""
    found = [root, *sorted(path for path in root.iterdir() if path.is_dir())] if root.is_dir() else []
    return [Outbox(path) for path in found if (path / journal.NAME).is_file()]


def _is_same(a: Upload, b: Upload) -> bool:
    return a.to == b.to and a.version == b.version


def _after(uploads: Sequence[Upload], new: Upload) -> Upload:
    """The new one, with what must not be lost of the one that it replaces."""
    before = next((one for one in uploads if one.to == new.to), None)
    return new if before is None else replace(new, version=before.version + 1, parts=before.parts)


def _names(to: str) -> list[str]:
    stem, dot, suffix = to.rpartition(".")
    if not dot or "/" in suffix:
        stem, dot, suffix = to, "", ""
    return [to, *(f"{stem}-{n}{dot}{suffix}" for n in range(2, MOST_NAMES))]
