"""The time of a run that counts, and what was left out of it: as data. metrics/trim.py finds it."""

from __future__ import annotations

from typing import NamedTuple

RULE = "MSER-5 on TTFT, TPOT and requests in flight; the ramp of an open loop; the time after the last send"
OFF = "off"
IN_FLIGHT, RAMP = "in_flight", "ramp"


class Drift(NamedTuple):
    """A series that never settled: its means over the first and the second half of the run, in ms or requests."""

    of: str
    first_half: float
    second_half: float


class Trim(NamedTuple):
    """first_ns to last_ns is the run, start_ns to end_ns what counts.

    left_out: requests that were sent before. found_by: the metric that found the warm-up, IN_FLIGHT or RAMP, "" without one.
    unlike: so many requests at the start that metric found not to be like the rest; others were sent before these were over.
    """

    first_ns: int
    start_ns: int
    end_ns: int
    last_ns: int
    left_out: int = 0
    found_by: str = ""
    drift: Drift | None = None
    rule: str = RULE
    unlike: int = 0

    @property
    def window_ns(self) -> tuple[int, int]:
        return self.start_ns, self.end_ns

    @property
    def is_whole(self) -> bool:
        return (self.first_ns, self.last_ns) == self.window_ns

    def untrimmed(self) -> Trim:
        """The same when everything counts."""
        return self._replace(
            start_ns=self.first_ns, end_ns=self.last_ns, left_out=0, found_by="", rule=OFF, unlike=0
        )
