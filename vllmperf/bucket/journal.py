"""uploads.json of an outbox: which files go where, and what became of each. Written whole, so a kill leaves the old or the new.

    {"schema": 1, "uploads": [{"path": "run.vllmperf", "to": "s3://BUCKET/KEY", "endpoint": null, "state": "waiting", …}]}

No credentials stand in it: whoever uploads brings its own.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllmperf.bucket.place import Place
from vllmperf.errors import UsageError
from vllmperf.whole_file import write_whole

# History of uploads.json. A reader refuses a newer number than its own.
#   1  first version
SCHEMA = 1
NAME, UPLOADING = "uploads.json", ".uploading"
WAITING, UPLOADED, LOST = "waiting", "uploaded", "lost"
"""States. lost: the local file was gone before it was uploaded."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file and where it goes. path: as the journal has it, relative to the outbox or absolute.

    error: why the last attempt failed. replace: over what is there; else a name that is taken gets a number. is_copy: the file
    was made for this upload and goes with it. parts: key and id of an upload in parts that has begun. version: grows with each
    add of the same destination."""

    path: str
    to: str
    endpoint: str | None = None
    state: str = WAITING
    size_bytes: int | None = None
    error: str | None = None
    attempts: int = 0
    replace: bool = False
    is_copy: bool = False
    parts: tuple[str, str] | None = None
    version: int = 1

    @property
    def name(self) -> str:
        """Of the object: the last part of its key."""
        return self.to.rsplit("/", 1)[-1]

    @property
    def place(self) -> Place:
        bucket, _, key = self.to.removeprefix("s3://").partition("/")
        return Place(bucket, key, self.endpoint)

    def to_dict(self) -> dict[str, Any]:
        """For people and programs that ask what becomes of a result."""
        return {
            "name": self.name,
            "to": self.to,
            "state": self.state,
            "bytes": self.size_bytes,
            "error": self.error,
        }


def read(folder: Path) -> list[Upload]:
    """The uploads noted in a folder, in their order; none where there is no journal. Raises UsageError when it cannot be read."""
    path = folder / NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
        raise UsageError(f"{path} is no list of uploads")
    if data["schema"] > SCHEMA:
        raise UsageError(f"{path} was written by a newer vllmperf: upload with that one")
    known = {field.name for field in dataclasses.fields(Upload)}
    rows = [{name: value for name, value in one.items() if name in known} for one in data["uploads"]]
    return [Upload(**{**row, "parts": row.get("parts") and tuple(row["parts"])}) for row in rows]


def edit(folder: Path, change: Callable[[list[Upload]], Sequence[Upload]]) -> Sequence[Upload]:
    """Replace the uploads of a folder by what `change` makes of them; processes and threads take turns."""
    with _alone(folder, os.O_RDONLY | os.O_DIRECTORY):
        before = read(folder)
        after = change(list(before))
        if list(after) != before:
            rows = [dataclasses.asdict(one) for one in after]
            write_whole(folder / NAME, json.dumps({"schema": SCHEMA, "uploads": rows}, indent=1) + "\n")
        return after


@contextmanager
def _alone(path: Path, flags: int) -> Iterator[None]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def uploading(folder: Path) -> Iterator[bool]:
    """Whether this one may upload now: False while another process or thread does."""
    descriptor = os.open(folder / UPLOADING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
