"""What went wrong with a bucket, in words that say what to do. Never has a secret in it: no text of the server is quoted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vllmperf.bucket.place import Place
from vllmperf.errors import VllmperfError

BAD_KEYS = (
    *(
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "InvalidToken",
        "AuthFailure",
        "AuthorizationQueryParametersError",
    ),
    "InvalidSecurity",
)
ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "301", "IllegalLocationConstraintException")
FULL = ("InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "507", "NoSpaceLeftOnDevice")
NO_RIGHT = ("AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "401")

SAID: tuple[tuple[tuple[str, ...], str], ...] = (
    (("NoSuchBucket",), "there is no bucket {bucket} at {server}: make it, or name another"),
    (("InvalidBucketName",), "{server} takes no bucket of the name {bucket}: name another"),
    (BAD_KEYS, "{server} refuses the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    (("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), "the credentials for {server} have expired: renew them"),
    (("RequestTimeTooSkewed",), "the clock of this machine is not that of {server}: set it"),
    (NO_RIGHT, "no right to write to {place}: the credentials need s3:PutObject and s3:GetObject there"),
    (ELSEWHERE, "bucket {bucket} is in another region: set AWS_REGION to it"),
    (FULL, "{server} has no space left for {place}"),
    (("SlowDown", "503", "ServiceUnavailable", "429", "TooManyRequests"), "{server} is overloaded"),
)  # fmt: skip
FINAL = (
    *BAD_KEYS,
    *ELSEWHERE,
    *NO_RIGHT,
    "NoSuchBucket",
    "InvalidBucketName",
    "ExpiredToken",
    "ExpiredTokenException",
)
"""Codes of a destination that is wrong: waiting does not help."""


class BucketError(VllmperfError):
    """An upload that did not succeed. is_final: it cannot, as it was asked for; is_general: nor can others to that place now."""

    def __init__(self, words: str, *, is_final: bool = False, is_general: bool = True) -> None:
        super().__init__(words)
        self.is_final, self.is_general = is_final, is_general


class Stop(BaseException):
    """The time of an upload is over, or somebody wants it to end.

    No Exception: botocore takes those that a body raises for faults of the network, and sends it again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Raises Stop as soon as nobody wants to wait any more."""

    is_over: Callable[[], bool]

    def __call__(self) -> None:
        if self.is_over():
            raise Stop


def code_of(error: Exception) -> str:
    """The code in an answer of the server, empty for another error."""
    answer = getattr(error, "response", None)
    return str((answer or {}).get("Error", {}).get("Code", ""))


def status_of(error: Exception) -> int:
    """The HTTP status of the server's answer, 0 without one."""
    answer = getattr(error, "response", None)
    return int((answer or {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def told(error: Exception, place: Place) -> BucketError:
    """The same in our words."""
    from botocore import exceptions

    code, status = code_of(error), status_of(error)
    if code:
        return BucketError(_words(code, status, place), is_final=code in FINAL)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        words = "no credentials for {server}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile of ~/.aws"
        return BucketError(words.format(server=place.server), is_final=True)
    if isinstance(error, exceptions.ReadTimeoutError):
        return BucketError(f"{place.server} took too long to answer")
    if isinstance(error, exceptions.SSLError):
        return BucketError(
            f"{place.server}: its certificate is not trusted: set AWS_CA_BUNDLE", is_final=True
        )
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return BucketError(f"{place.server} does not answer")
    if isinstance(error, OSError):
        return BucketError(
            f"{error.strerror or type(error).__name__}: {error.filename or place}", is_general=False
        )
    if isinstance(error, exceptions.BotoCoreError):
        return BucketError(f"{place.server}: {type(error).__name__}", is_final=True)
    return BucketError(f"{place}: {type(error).__name__}", is_general=False)


def _words(code: str, status: int, place: Place) -> str:
    words = next((words for codes, words in SAID if code in codes), None)
    if words is None:
        return f"{place.server} answered {_plain(code)} (HTTP {status})"
    return words.format(bucket=place.bucket, server=place.server, place=place)


def _plain(code: str) -> str:
    return "".join(sign for sign in code[:60] if sign.isalnum() or sign in "._-") or "an error"
