"""What this machine adds to what it measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllmperf.api.given import Lines, lines_of, suggests_names
from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from vllmperf.own_error import SelfTest


@suggests_names
def selftest(*, point_s: float | None = None, progress: Lines = False) -> SelfTest:
    """Measure what this machine adds to latencies, against a simulated server here; about a minute.

    point_s: seconds a load, about (2). The result is kept in the user's cache folder, and later runs on this machine quote
    it (`run.summary["client"]["machine_adds"]`).

    >>> import vllmperf as vp
    >>> found = vp.selftest()  # doctest: +SKIP
    >>> found.streams[0].ttft_ms.p99, found.events_limit.per_s  # doctest: +SKIP
    (0.06, 98_700.0)
    """
    from vllmperf import own_error

    if point_s is not None and not 0 < point_s < 1e6:
        raise UsageError(f"point_s must be above 0 (got {point_s})")
    return own_error.measured(lines_of(progress), point_s or own_error.POINT_S)
