"""Where results go in a bucket: s3://BUCKET/PREFIX at an endpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from vllmperf.errors import UsageError

SCHEME = "s3://"
ENDPOINTS = ("BENCHMARK_RESULTS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables that name the endpoint, the first one that is set counts. Without one: Amazon's, or that of ~/.aws/config."""
BUCKET, DIRECTORY = "BENCHMARK_RESULTS_BUCKET", "BENCHMARK_RESULTS_DIRECTORY"

BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{1,253}[A-Za-z0-9]")
"""Amazon takes 3 to 63 lower-case letters, digits, dots and hyphens; other servers, and its older regions, take more."""
KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """A key of a bucket, or what keys begin with. endpoint: URL of the server, None for the default one."""

    bucket: str
    key: str = ""
    endpoint: str | None = None

    @classmethod
    def of(cls, text: str, endpoint: str | None = None) -> Place:
        """The place that `s3://BUCKET/PREFIX` means, at the endpoint or that of the environment. Raises UsageError."""
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if "@" in bucket:
            raise UsageError(
                "a place s3://… has no user and no password: give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if not text.startswith(SCHEME) or not BUCKET_NAME.fullmatch(bucket):
            raise UsageError(f"{text!r} is no place in a bucket: write s3://BUCKET/PREFIX")
        return cls(bucket, _key(key, text), endpoint_of(endpoint))

    def __truediv__(self, name: str) -> Place:
        """The place of a name below this one."""
        whole = "/".join(part for part in (self.key, name) if part)
        return replace(self, key=_key(whole, f"{SCHEME}{self.bucket}/{whole}"))

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}".removesuffix("/")

    @property
    def server(self) -> str:
        """What people call its server."""
        return self.endpoint or "S3"


def is_place(text: str) -> bool:
    """Whether it is meant as a place in a bucket rather than a folder."""
    return text.startswith(SCHEME)


def endpoint_of(given: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The URL of the server: the one that was given, else that of the environment. Raises UsageError."""
    found = given or next((environment[name] for name in ENDPOINTS if environment.get(name)), None)
    if found is None:
        return None
    parts = urlsplit(found)
    if parts.username or parts.password:
        raise UsageError(
            "the endpoint of the bucket has a password in its URL: give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"the endpoint {found!r} is no URL of an S3 server: write http://HOST:PORT")
    return found.rstrip("/")


def of_environment(endpoint: str | None = None, environment: Mapping[str, str] = os.environ) -> Place | None:
    """The place that BENCHMARK_RESULTS_BUCKET (NAME or s3://NAME) and BENCHMARK_RESULTS_DIRECTORY name, None where no bucket is
    set. Raises UsageError."""
    bucket, folder = environment.get(BUCKET, "").strip(), environment.get(DIRECTORY, "").strip()
    if not bucket:
        if folder:
            raise UsageError(f"{DIRECTORY} is set but {BUCKET} is not: set both, or none")
        return None
    try:
        return Place.of(f"{SCHEME}{bucket.removeprefix(SCHEME)}", endpoint_of(endpoint, environment)) / folder
    except UsageError as error:
        raise UsageError(f"{BUCKET}: {error}") from None


def _key(text: str, whole: str) -> str:
    parts = [part for part in text.split("/") if part]
    if {".", ".."} & set(parts):
        raise UsageError(f"{whole!r}: a name in a bucket has no '.' or '..' between its slashes")
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in text):
        raise UsageError(f"{whole!r} has control characters")
    key = "/".join(parts)
    if len(key.encode()) > KEY_BYTES:
        raise UsageError(f"{whole!r} is too long: a key has at most {KEY_BYTES} bytes")
    return key
