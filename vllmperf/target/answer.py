"""An answer whose body is read whole or as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from vllmperf.server_words import said
from vllmperf.target.errors import AnswerError, no_answer, unreadable

if TYPE_CHECKING:
    import urllib3

MOST_BYTES = 64 << 20
"""Of an answer, or of a line: more is no answer to such a question."""
MOST_WORDS_BYTES = 4096
"""Of an answer that is not what was asked for, as a part of an error."""
PIECE = 1 << 16


class Answer:
    """status, reason, headers, and the body, decompressed: whole, or as it comes. Raises AnswerError when it breaks off."""

    def __init__(
        self,
        status: int,
        pieces: Iterator[bytes],
        reason: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.status, self.reason, self.headers = status, reason, headers
        self._pieces = pieces

    def read(self, most: int | None = None) -> bytes:
        """The body; with `most`, no more than its beginning."""
        body = bytearray()
        for piece in self._pieces:
            body += piece
            if most is not None and len(body) >= most:
                return bytes(body[:most])
            _check_end(body)
        return bytes(body)

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives, of any length."""
        return self._pieces

    def lines(self) -> Iterator[bytes]:
        """Lines as they arrive, without their ends."""
        rest = b""
        for piece in self._pieces:
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            _check_end(rest)
        if rest:
            yield rest


def _check_end(got: bytes | bytearray) -> None:
    if len(got) > MOST_BYTES:
        why = f"its answer is longer than {MOST_BYTES >> 20} MiB"
        raise AnswerError(f"the server does not end: {why}", why)


def pieces_of(response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
    """A body as it arrives, decompressed."""
    from urllib3.exceptions import DecodeError, HTTPError

    coding = response.headers.get("Content-Encoding", "")
    for name in coding.lower().split(","):
        if name.strip() not in ("", "identity", *response.CONTENT_DECODERS):
            raise unreadable(url, f"it is compressed with {name.strip()!r}, which vllmperf cannot read")
    try:
        while piece := response.read1(PIECE):
            yield piece
    except DecodeError:
        raise unreadable(url, f"it says that it is compressed with {coding}, and is not") from None
    except (HTTPError, OSError) as error:
        raise no_answer(url, error) from None


def words_of(answer: Answer) -> str:
    """What the server said beside its status; "" for nothing."""
    try:
        return said(answer.read(MOST_WORDS_BYTES).decode(errors="replace"))
    except AnswerError:
        return ""
