"""What the C library does with memory that a run of hours gives back."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""malloc.h of glibc."""
LARGE_BYTES = 256 * 1024
UNUSED_BYTES = 1024 * 1024


def give_back_large_blocks() -> bool:
    """Whether blocks from LARGE_BYTES on go back to the system when they are freed, from now on in the whole process.

    Left alone, glibc raises that limit up to 32 MB with each large block that is freed. Such blocks then come from heaps of
    threads, which batches of requests, parts of uploads and pages of copies leave in fragments: they grow for hours. False where
    the C library has no such limit.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BYTES) and mallopt(M_TRIM_THRESHOLD, UNUSED_BYTES))
