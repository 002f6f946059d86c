"""A client of boto3: credentials by boto3's own chain, bounded times, no more retries than these allow. Needs the extra s3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vllmperf.bucket.place import Place
from vllmperf.bucket.trouble import BucketError, code_of, status_of, told
from vllmperf.errors import UsageError

CONNECT_S = 5.0
READ_S, ATTEMPTS = 30.0, 3
ASK_READ_S, ASK_ATTEMPTS = 10.0, 2
"""For a question before a run, when somebody waits."""
REGION = "us-east-1"
"""Where no other is set; servers that are not Amazon's take any."""
PROBE = ".vllmperf-may-i-write"


@contextmanager
def connected(endpoint: str | None, read_s: float = READ_S, attempts: int = ATTEMPTS) -> Iterator[Any]:
    """A client of the server, closed at the end. Raises UsageError when boto3 is not installed, BucketError."""
    try:
        import boto3
        from botocore import exceptions
        from botocore.config import Config
    except ImportError:
        raise UsageError("a place s3://… needs boto3: pip install 'vllmperf[s3]'") from None
    settings: dict[str, Any] = {"addressing_style": "path"} if endpoint else {}
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        # Other servers than Amazon's do not know the checksums that boto3 would add; ours are Content-MD5 and a SHA-256.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=settings,
    )
    try:
        session = boto3.session.Session()
        region = os.environ.get("AWS_REGION") or session.region_name or REGION
        client = session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    except (
        exceptions.BotoCoreError
    ) as error:  # a profile that is not there, a config file that cannot be read
        raise BucketError(
            f"boto3 cannot be set up ({type(error).__name__}): see AWS_PROFILE and ~/.aws", is_final=True
        ) from None
    try:
        yield client
    finally:
        client.close()


def check(place: Place) -> str | None:
    """Whether one could write there, found out without writing: what hinders for now, None when nothing does.

    It begins an upload in parts and takes it back: that needs the right to write, and nobody sees an object.
    Raises UsageError when it will never be possible: no such bucket, no right, no credentials."""
    probe = place / PROBE
    try:
        with connected(place.endpoint, ASK_READ_S, ASK_ATTEMPTS) as client:
            where = {"Bucket": probe.bucket, "Key": probe.key}
            begun = client.create_multipart_upload(**where)
            _take_back(client, where, begun["UploadId"])
    except BucketError as error:
        return _temporary(error)
    except UsageError:
        raise
    except Exception as error:
        return _temporary(told(error, place))
    return None


def _temporary(error: BucketError) -> str:
    if error.is_final:
        raise UsageError(str(error)) from None
    return str(error)


def _take_back(client: Any, where: dict[str, str], upload_id: str) -> None:
    """An upload of parts; who may not do so leaves an empty one behind, which no one sees."""
    try:
        client.abort_multipart_upload(**where, UploadId=upload_id)
    except Exception as error:
        if not code_of(error) or status_of(error) >= 500:
            raise


def is_missing(error: Exception) -> bool:
    """Whether the server says that there is no such object or upload."""
    return code_of(error) in ("404", "NoSuchKey", "NoSuchUpload")
