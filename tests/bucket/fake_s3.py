"""An S3 server in memory with the few calls of a client that uploads use. It checks what a real one checks."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError


def refusal(code: str, status: int = 400) -> ClientError:
    answer = {
        "Error": {"Code": code, "Message": "secret words of a server"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "PutObject")


class FakeS3:
    """before: called with the name of each call and its arguments; what it raises is what the call raises."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.begun: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.before: Callable[[str, dict[str, Any]], None] = lambda _name, _arguments: None
        self.encrypts = False
        self.n_open = 0

    @contextmanager
    def connect(self, _endpoint: str | None) -> Iterator[FakeS3]:
        self.n_open += 1
        try:
            yield self
        finally:
            self.n_open -= 1

    def _called(self, name: str, arguments: dict[str, Any]) -> None:
        self.calls.append(name)
        self.before(name, arguments)

    def put_object(self, **given: Any) -> dict[str, str]:
        self._called("put_object", given)
        data = _received(given)
        return self._keep(given, given["Metadata"], data, hashlib.md5(data).hexdigest())

    def create_multipart_upload(self, **given: Any) -> dict[str, str]:
        self._called("create_multipart_upload", given)
        upload_id = f"upload-{len(self.calls)}"
        self.begun[upload_id] = {"key": given["Key"], "metadata": given["Metadata"], "parts": {}}
        return {"UploadId": upload_id}

    def upload_part(self, **given: Any) -> dict[str, str]:
        self._called("upload_part", given)
        data = _received(given)
        self.begun[given["UploadId"]]["parts"][given["PartNumber"]] = data
        return {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}

    def complete_multipart_upload(self, **given: Any) -> dict[str, str]:
        self._called("complete_multipart_upload", given)
        begun = self.begun[given["UploadId"]]
        parts = [begun["parts"][one["PartNumber"]] for one in given["MultipartUpload"]["Parts"]]
        hashes = b"".join(hashlib.md5(part).digest() for part in parts)
        kept = self._keep(
            given, begun["metadata"], b"".join(parts), f"{hashlib.md5(hashes).hexdigest()}-{len(parts)}"
        )
        del self.begun[given["UploadId"]]
        return kept

    def _keep(
        self, given: dict[str, Any], metadata: dict[str, str], data: bytes, etag: str
    ) -> dict[str, str]:
        if given.get("IfNoneMatch") == "*" and given["Key"] in self.objects:
            raise refusal("PreconditionFailed", 412)
        etag = "made-up" if self.encrypts else etag
        self.objects[given["Key"]] = {"data": data, "metadata": metadata, "etag": f'"{etag}"'}
        return {"ETag": f'"{etag}"'}

    def abort_multipart_upload(self, **given: Any) -> None:
        self._called("abort_multipart_upload", given)
        begun = self.begun.get(given["UploadId"])
        if begun is None or begun["key"] != given["Key"]:
            raise refusal("NoSuchUpload", 404)
        del self.begun[given["UploadId"]]

    def head_object(self, **given: Any) -> dict[str, Any]:
        self._called("head_object", given)
        if given["Key"] not in self.objects:
            raise refusal("404", 404)
        one = self.objects[given["Key"]]
        more = {"ServerSideEncryption": "aws:kms"} if self.encrypts else {}
        return {"ContentLength": len(one["data"]), "Metadata": one["metadata"], "ETag": one["etag"], **more}


def _received(given: dict[str, Any]) -> bytes:
    data: bytes = given["Body"].read()
    if base64.b64encode(hashlib.md5(data).digest()).decode() != given["ContentMD5"]:
        raise refusal("BadDigest")
    return data
