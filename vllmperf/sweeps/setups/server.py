"""What a set-up gives when it is started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vllmperf.errors import TargetError


class SetupError(TargetError):
    """The server of a set-up did not start, did not get ready, or is gone. One line that says why."""


class EndedError(SetupError):
    """The server ended before it was ready."""


class Server(Protocol):
    """A server that was started, or was there already. It may not be ready yet."""

    base_url: str
    """Empty as long as unready() says why nobody knows it."""
    metrics_roots: Sequence[str]
    """What a path of its metrics is a path of, one for each place that has them."""

    def unready(self) -> str | None:
        """Why it cannot be asked yet; None once it can, and stays so. Raises SetupError."""

    def facts(self) -> dict[str, object]:
        """What a later process needs to end it, when this one was killed; {} where there is nothing to end."""

    def ended(self) -> str | None:
        """How it ended, as the end of a sentence; None as long as it may answer."""

    def stop(self) -> None:
        """End it and all that it started. Stopping again is no error."""
