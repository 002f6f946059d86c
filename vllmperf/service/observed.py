"""The state of the service as the series of /metrics read it."""

from __future__ import annotations

from datetime import datetime

from vllmperf.service.jobs import Job
from vllmperf.service.queue import Queue
from vllmperf.service.series import RunState, ServiceState
from vllmperf.service.starts import newest


async def service_state(queue: Queue) -> ServiceState:
    """All runs, newest first, the queue, files that wait for the bucket, and measured starts of servers."""
    files, n_bytes = await queue.on_disk(queue.uploads.pending)
    starts = await queue.on_disk(newest, queue.settings.data)
    runs = tuple(map(_run_state, queue.newest_first()))
    return ServiceState(runs, queue.settings.queue_limit, files, n_bytes, starts)


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
        done=job.done,
        time_left_s=job.time_left_s,
        verdict=str(job.verdict["level"]) if job.verdict else None,
        counts=job.histograms,
        power=job.power,
    )


def _since_1970(stamp: str | None) -> float | None:
    return None if stamp is None else datetime.fromisoformat(stamp).timestamp()
