"""One file to one key: in one piece or in parts, whole or not at all, and confirmed by asking the server what it has."""

from __future__ import annotations

import base64
import hashlib
import io
import mimetypes
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vllmperf.bucket.client import is_missing
from vllmperf.bucket.place import Place
from vllmperf.bucket.trouble import BucketError, Patience, code_of

PART_BYTES = 8 * 1024 * 1024
"""A file up to this size goes in one piece. Parts have at least 5 MiB, and there are at most MOST_PARTS."""
MOST_PARTS = 10_000
HASH = "sha256"
"""Name of the object's metadata with the file's SHA-256 in hex digits."""
TYPES = {
    ".vllmperf": "application/vnd.sqlite3",
    ".jsonl": "application/jsonl",
    ".log": "text/plain; charset=utf-8",
}


class TakenError(Exception):
    """There is an object of that key already, of other content."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: its size, SHA-256, and the ETag that S3 gives to it."""

    size_bytes: int
    sha256: str
    etag: str
    part_bytes: int

    @property
    def in_parts(self) -> bool:
        return self.size_bytes > self.part_bytes


def content_of(file: BinaryIO, part_bytes: int = PART_BYTES) -> Content:
    """Read the file once. S3's ETag: MD5 of the content, or MD5 of the parts' MD5s with their number behind it."""
    size = os.fstat(file.fileno()).st_size
    part = max(part_bytes, -(-size // MOST_PARTS))
    whole, parts = hashlib.sha256(), []
    for data in _pieces(file, part):
        whole.update(data)
        parts.append(_md5(data).digest())
    etag = parts[0].hex() if len(parts) == 1 else f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"
    return Content(file.tell(), whole.hexdigest(), etag, part)


def send(
    client: Any,
    path: Path,
    to: Place,
    patience: Patience,
    note: Callable[[str | None], None],
    *,
    replace: bool = False,
    part_bytes: int = PART_BYTES,
) -> Content:
    """Upload a file and make sure that it is there as it is here.

    note: takes the id of an upload in parts before the first part goes, and None when that upload has ended: whoever dies in
    between leaves parts that only the id can remove. replace: also over an object that is there.

    Raises TakenError, BucketError, Stop, OSError, and what boto3 raises."""
    with path.open("rb") as file:
        content = content_of(file, part_bytes)
        file.seek(0)
        where = {"Bucket": to.bucket, "Key": to.key}
        put = _put_in_parts if content.in_parts else _put
        try:
            put(client, file, content, where, patience, note, {} if replace else {"IfNoneMatch": "*"})
        except Exception as error:
            if code_of(error) == "NotImplemented" and not replace:  # a server without conditions
                file.seek(0)
                put(client, file, content, where, patience, note, {})
            elif code_of(error) not in ("PreconditionFailed", "412"):
                raise
            elif not _is_there(client, where, content):
                raise TakenError from None
    if not _is_there(client, where, content):
        raise BucketError(f"{to.server} has another content at {to} than was sent", is_general=False)
    return content


def _put(
    client: Any,
    file: BinaryIO,
    content: Content,
    where: dict[str, str],
    patience: Patience,
    _note: object,
    condition: dict[str, str],
) -> None:
    data = file.read()
    _check_same(content, hashlib.sha256(data).hexdigest())
    client.put_object(
        **where,
        **_facts(where["Key"], content),
        **condition,
        Body=_Body(data, patience),
        ContentMD5=base64.b64encode(_md5(data).digest()).decode(),
    )


def _put_in_parts(
    client: Any,
    file: BinaryIO,
    content: Content,
    where: dict[str, str],
    patience: Patience,
    note: Callable[[str | None], None],
    condition: dict[str, str],
) -> None:
    upload_id = client.create_multipart_upload(**where, **_facts(where["Key"], content))["UploadId"]
    note(upload_id)
    try:
        sent, parts = hashlib.sha256(), []
        for number, data in enumerate(_pieces(file, content.part_bytes), 1):
            sent.update(data)
            patience()
            answer = client.upload_part(
                **where,
                UploadId=upload_id,
                PartNumber=number,
                Body=_Body(data, patience),
                ContentMD5=base64.b64encode(_md5(data).digest()).decode(),
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        _check_same(content, sent.hexdigest())
        client.complete_multipart_upload(
            **where, **condition, UploadId=upload_id, MultipartUpload={"Parts": parts}
        )
    except BaseException:
        with suppress(Exception):  # the id stays noted: the next start tries again
            forget(client, where, upload_id)
            note(None)
        raise
    note(None)


def forget(client: Any, where: dict[str, str], upload_id: str) -> None:
    """Remove the parts of an upload that came to no end."""
    try:
        client.abort_multipart_upload(**where, UploadId=upload_id)
    except Exception as error:
        if not is_missing(error):
            raise


def _is_there(client: Any, where: dict[str, str], content: Content) -> bool:
    """Whether the server has this content, as far as it can say: an ETag of encrypted objects is no MD5."""
    head = client.head_object(**where)
    has_own_etag = head.get("SSECustomerAlgorithm") or str(head.get("ServerSideEncryption", "")).startswith(
        "aws:kms"
    )
    return bool(
        head["ContentLength"] == content.size_bytes
        and head.get("Metadata", {}).get(HASH) == content.sha256
        and (has_own_etag or head["ETag"].strip('"') == content.etag)
    )


def _facts(key: str, content: Content) -> dict[str, Any]:
    suffix = Path(key).suffix
    kind = TYPES.get(suffix) or mimetypes.guess_type(key)[0] or "application/octet-stream"
    if kind == "text/html":
        kind = "text/html; charset=utf-8"
    return {"ContentType": kind, "Metadata": {HASH: content.sha256}}


def _check_same(content: Content, sha256: str) -> None:
    if content.sha256 != sha256:
        raise BucketError("the file changed while it was sent", is_general=False)


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """At least one, which is empty for an empty file."""
    yield file.read(size)
    while data := file.read(size):
        yield data


def _md5(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)


class _Body(io.BytesIO):
    """Bytes that stop flowing when nobody wants to wait any more: a slow server takes them a few at a time."""

    def __init__(self, data: bytes, patience: Patience) -> None:
        super().__init__(data)
        self._patience = patience

    def read(self, size: int | None = -1, /) -> bytes:
        self._patience()
        return super().read(size)
