"""The state of the service as the series of /metrics read it."""

from __future__ import annotations

from datetime import datetime

from vllmperf.service.jobs import Job
from vllmperf.service.queue import Queue
from vllmperf.service.series import RunState, ServiceState
from vllmperf.service.starts import newest


def service_state(queue: Queue, pending: tuple[int, int] = (0, 0)) -> ServiceState:
    """All runs, newest first, the queue, and measured starts of servers. pending: files that wait for the bucket, and their
    bytes."""
    return ServiceState(
        tuple(map(_run_state, queue.newest_first())),
        queue.settings.queue_limit,
        *pending,
        starts=newest(queue.settings.data),
    )


def _run_state(job: Job) -> RunState:
    return RunState(
        id=job.id,
        kind=job.kind,
        phase=job.phase,
        label=job.label or "",
        model=job.model or "",
        target=job.target,
        started_at=_since_1970(job.started_at),
        ended_at=_since_1970(job.ended_at),
        asked=job.asked,
        time_left_s=job.time_left_s,
        verdict=str(job.verdict["level"]) if job.verdict else None,
        counts=job.histograms,
    )


def _since_1970(stamp: str | None) -> float | None:
    return None if stamp is None else datetime.fromisoformat(stamp).timestamp()
