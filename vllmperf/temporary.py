"""Where temporary files lie, also in a container whose root is read-only and that has no /tmp."""

from __future__ import annotations

import os
import tempfile

from vllmperf.errors import UsageError

MEMORY = "/dev/shm"
"""Every container has it, mostly with 64 MB."""


def folder() -> str:
    """The folder for temporary files. Raises UsageError where none can be written to."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        if os.access(MEMORY, os.W_OK):
            return MEMORY
        raise UsageError(
            f"no folder takes temporary files: mount one at /tmp, or name one with TMPDIR (tried /tmp, /var/tmp, {MEMORY})"
        ) from None


def new_folder(name: str) -> tempfile.TemporaryDirectory[str]:
    """A folder in it that goes at the end of `with`. name: the beginning of its name."""
    return tempfile.TemporaryDirectory(prefix=name, dir=folder())
