"""What became of uploads, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from vllmperf.bucket.journal import LOST, UPLOADED, WAITING, Upload
from vllmperf.bucket.outbox import Outbox


def told(outbox: Outbox, before: Sequence[Upload]) -> str:
    """Of the uploads that waited before: uploaded 3 files (1.2 MB) to s3://b/p; or how many wait, where and why."""
    asked = {(one.path, one.version) for one in before}
    now = [one for one in outbox.uploads if (one.path, one.version) in asked]
    done = [one for one in now if one.state == UPLOADED]
    left = [one for one in now if one.state == WAITING]
    parts = []
    if done:
        size = sum(one.size_bytes or 0 for one in done)
        parts.append(f"uploaded {_files(len(done))} ({_size(size)}) to {_common(done)}")
    if left:
        reason = next((one.error for one in left if one.error), "another process uploads them")
        verb = "wait" if len(left) > 1 else "waits"
        parts.append(f"{_files(len(left))} for {_common(left)} {verb} in {outbox.folder}: {reason}")
    parts += [f"{one.to} is lost: {one.error}" for one in now if one.state == LOST]
    return "; ".join(parts)


def _files(n: int) -> str:
    return f"{n} file{'' if n == 1 else 's'}"


def _common(uploads: Sequence[Upload]) -> str:
    """The object, or the folder that all lie in."""
    names = [one.to for one in uploads]
    if len(names) == 1:
        return names[0]
    parts = [name.split("/")[:-1] for name in names]
    length = 0
    while all(len(one) > length and one[length] == parts[0][length] for one in parts):
        length += 1
    return "/".join(parts[0][:length])


def _size(n_bytes: int) -> str:
    return (
        f"{n_bytes / 1e6:.1f} MB"
        if n_bytes >= 1e5
        else f"{n_bytes / 1e3:.1f} kB"
        if n_bytes >= 1000
        else f"{n_bytes} bytes"
    )
