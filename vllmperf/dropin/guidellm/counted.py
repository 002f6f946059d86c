"""Warm-up and cool-down: which requests of a benchmark count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vllmperf.dropin.guidellm.options import Options
from vllmperf.dropin.guidellm.running import Limits
from vllmperf.formats.guidellm_report import Request


@dataclass(frozen=True, slots=True)
class Counted:
    """Limits of a benchmark and what is cut off at its ends, in requests and in s; names as in the report."""

    max_number: int | None
    max_duration: float | None
    warmup_number: int | None
    warmup_duration: float | None
    cooldown_number: int | None
    cooldown_duration: float | None

    @staticmethod
    def of(options: Options, limits: Limits) -> Counted:
        number, duration = limits.max_requests, limits.max_seconds
        cut: list[Any] = []
        for share in (options.warmup_percent, options.cooldown_percent):
            cut += [
                None if share is None or number is None else int(share * number),
                None if share is None or duration is None else share * duration,
            ]
        return Counted(number, duration, *cut)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def kept(requests: Sequence[Request], counted: Counted, start_time: float) -> list[Request]:
    """Those that count of requests in the order of their ends.

    As in guidellm a number cuts by the order of the ends, a duration by when a request began; a request must pass
    both. The durations begin with the load (guidellm's began with its worker processes, some 5 s before it).
    """
    return [
        item
        for number, item in enumerate(requests, 1)
        if not (
            _in_warmup(number, item, counted, start_time) or _in_cooldown(number, item, counted, start_time)
        )
    ]


def _in_warmup(number: int, item: Request, counted: Counted, start_time: float) -> bool:
    by_number = bool(counted.warmup_number) and number <= (counted.warmup_number or 0)
    by_time = bool(counted.warmup_duration) and item.start <= start_time + (counted.warmup_duration or 0)
    return by_number or by_time


def _in_cooldown(number: int, item: Request, counted: Counted, start_time: float) -> bool:
    by_number = (
        bool(counted.cooldown_number)
        and counted.max_number is not None
        and number > counted.max_number - (counted.cooldown_number or 0)
    )
    by_time = (
        bool(counted.cooldown_duration)
        and counted.max_duration is not None
        and item.start > start_time + counted.max_duration - (counted.cooldown_duration or 0)
    )
    return by_number or by_time
