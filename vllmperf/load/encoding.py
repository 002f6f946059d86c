"""Bodies that come compressed although nobody asked for that."""

from __future__ import annotations

import zlib

GZIP_OR_ZLIB, RAW = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS
KNOWN = ("gzip", "x-gzip", "deflate")


class EncodingError(ValueError):
    """The body cannot be read; the text says why."""


def decoded(body: bytes, content_encoding: str | None) -> bytes:
    """The body without its Content-Encoding (gzip, deflate with or without zlib's head, or several of them).

    Raises EncodingError for an encoding that we do not know, or a body that is not of it.
    """
    names = [name.strip().lower() for name in (content_encoding or "").split(",")]
    for name in reversed([name for name in names if name not in ("", "identity")]):
        if name not in KNOWN:
            raise EncodingError(f"it is compressed with {name!r}, which vllmperf cannot read")
        body = _inflated(body, name)
    return body


def _inflated(body: bytes, name: str) -> bytes:
    # deflate is zlib's format by the standard, and raw by the practice of some servers
    for wbits in (GZIP_OR_ZLIB, RAW) if name == "deflate" else (GZIP_OR_ZLIB,):
        try:
            return zlib.decompressobj(wbits).decompress(body)
        except zlib.error:
            continue
    raise EncodingError(f"it says that it is compressed with {name}, and is not")
