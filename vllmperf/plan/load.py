"""How much is asked, and when: rate, concurrency, arrivals, the end, and the connections."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vllmperf.errors import SettingError
from vllmperf.plan import checks
from vllmperf.plan.checks import setting, whole
from vllmperf.plan.part import Part
from vllmperf.plan.precision import precision

ARRIVALS = ("constant", "poisson", "gamma", "trace", "dataset")
HAVE_TIMES = ("trace", "dataset")
NUM_PROMPTS = 1000
"""As in `vllm bench serve`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Part):
    """request_rate in requests/s, inf: as fast as max_concurrency allows. duration in s, the longest one with until.

    until: like ttft_p99±5%, the run stops when its metric is known so well.

    think_time: s from the end of an answer to the next turn of its session; of data sets of conversations, where max_concurrency
    and num_prompts count sessions.

    warm_connections: opened before the start; None: all that a closed loop will use.
    """

    request_rate: float = setting(math.inf, checks.number(above=0.0, endless=True))
    burstiness: float = setting(1.0, checks.number(above=0.0, endless=True))
    arrival: str | None = setting(None, checks.one_of(*ARRIVALS))
    arrival_file: str | None = setting(None, checks.path)
    max_concurrency: int | None = setting(None, whole())
    num_prompts: int | None = setting(NUM_PROMPTS, whole(), or_none=True)
    duration: float | None = setting(None, checks.seconds())
    until: str | None = setting(None, precision)
    think_time: float = setting(0.0, checks.seconds(zero=True))
    num_warmups: int = setting(0, whole(0))
    warm_connections: int | None = setting(None, whole(0))
    fresh_connections: bool = setting(False, checks.flag)

    @property
    def is_open_loop(self) -> bool:
        """Requests have times of their own."""
        return self.arrival in HAVE_TIMES or math.isfinite(self.request_rate)

    def check(self) -> None:
        _check_arrival(self)
        has_end = self.num_prompts is not None or self.duration is not None or self.arrival in HAVE_TIMES
        if self.until is not None and not has_end:
            raise SettingError(
                "{until} may never be reached: give {duration}, the longest that the run may take"
            )
        if not has_end:
            raise SettingError("a run needs an end: give {num_prompts}, {duration}, or both")
        if self.num_prompts is None and not self.is_open_loop and self.max_concurrency is None:
            raise SettingError(
                "{duration} alone would send without limit: add {request_rate} or {max_concurrency}"
            )


def _check_arrival(load: Load) -> None:
    has_rate, kind = math.isfinite(load.request_rate), load.arrival
    if (kind == "trace") != (load.arrival_file is not None):
        raise SettingError("{arrival} trace and {arrival_file} go together: give both or none")
    if kind in ("constant", "poisson", "gamma") and not has_rate:
        raise SettingError("{arrival} {kind} needs {request_rate}", kind=kind)
    if kind in HAVE_TIMES and has_rate:
        raise SettingError("{arrival} {kind} has its own times: leave {request_rate} out", kind=kind)
    if kind is None and load.burstiness != 1 and not has_rate:
        raise SettingError("{burstiness} needs {request_rate}")
