"""What comes instead of an answer, as one line that says what is wrong and what to do."""

from __future__ import annotations

from urllib.parse import urlsplit

from vllmperf import hints
from vllmperf.errors import TargetError
from vllmperf.reach import NotAllowedError


class AnswerError(TargetError):
    """No answer (status 0), or one that is a refusal.

    why: "404 Not Found" or "Connection refused"; words: what the server said beside it.
    """

    def __init__(self, message: str, why: str = "", status: int = 0, words: str = "") -> None:
        super().__init__(message)
        self.why, self.status, self.words = why, status, words


class CertificateError(AnswerError):
    """Nobody that we trust signed the server's certificate: asking again does not help."""


def unreadable(url: str, why: str) -> AnswerError:
    return AnswerError(f"the answer of {url} cannot be read: {why}; {hints.GIVE_MODEL}", why)


def no_answer(url: str, error: BaseException) -> AnswerError:
    import ssl

    reason = innermost(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        why = reason.verify_message
        return CertificateError(f"cannot reach {url}: {why}; {hints.of_tls('certificate')}", why)
    why = text_of(reason)
    if isinstance(reason, NotAllowedError):
        return AnswerError(f"cannot reach {url}: {why}", why)
    is_tls = isinstance(reason, ssl.SSLError) or "handshake" in why
    hint = (
        hints.of_tls(why)
        if is_tls
        else f"is the server running, and is --base-url right?{_past_a_proxy(url)}"
    )
    return AnswerError(f"cannot reach {url}: {why}; {hint}", why)


def _past_a_proxy(url: str) -> str:
    """What to know where the environment names a proxy for this URL."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    name = f"{parts.scheme}_proxy"
    if parts.scheme not in getproxies() or proxy_bypass(parts.netloc):
        return ""
    return f" ({name} is set, but vllmperf asks the server directly)"


def innermost(error: BaseException) -> BaseException:
    """The first cause, without what urllib3 wraps around it."""
    seen = {id(error)}
    while True:
        held = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
        inner = next((one for one in held if isinstance(one, BaseException)), None)
        if inner is None or id(inner) in seen:
            return error
        seen.add(id(inner))
        error = inner


def text_of(error: BaseException) -> str:
    """Such as "Connection refused", on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
