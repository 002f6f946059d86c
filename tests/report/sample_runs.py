"""A handful of runs whose reports the tests look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthetic import MS, Request, failed, histogram, quiet_histograms, steady, write_run

from vllmperf.metrics.summary import summarize
from vllmperf.record.reader import read

PLAN: dict[str, Any] = {
    "dataset_name": "random",
    "input_len": 16,
    "output_len": 4,
    "num_prompts": 200,
    "percentile_metrics": ["ttft", "ttft_scheduled", "tpot", "itl", "e2el", "e2el_scheduled"],
    "metric_percentiles": [50, 90, 99],
}


def closed_loop() -> list[Request]:
    """198 good requests of a full closed loop, and two that failed in different ways."""
    requests = steady(200)
    requests[7] = failed(
        7, "http_error", '{"error": {"message": "engine [core] died"}}', sent=243, status=500
    )
    requests[8] = failed(8, "reset", "Recv failure: Connection reset by peer", sent=324)
    return requests


def open_loop() -> list[Request]:
    """200 requests at 20/s, each 0.2 ms late, in a run whose client had trouble."""
    requests = [Request(i, sent=i * 50.0 + 0.2, ttft=50 + i / 10) for i in range(200)]
    for i, request in enumerate(requests):
        request.fields = {"scheduled_ns": i * 50 * MS}
        request.shared = [1, 1, 0]
    return requests


def summary_of(
    folder: Path, requests: Sequence[Request], plan: dict[str, Any] | None = None, **run: Any
) -> dict[str, Any]:
    return summarize(read(write_run(folder / "a.run", requests, plan=PLAN | (plan or {}), **run)))


def golden(folder: Path, name: str) -> dict[str, Any]:
    """The summary behind golden/NAME.txt."""
    if name == "closed_loop":
        return summary_of(folder, closed_loop())
    if name == "open_loop":
        lags = quiet_histograms() | {"client_lag": histogram(*[0.5] * 90, *[12.0] * 10)}
        plan = {"request_rate": 20, "max_concurrency": None, "arrival": "constant"}
        return summary_of(folder, open_loop(), plan, histograms=lags)
    if name == "nothing":
        return summary_of(
            folder, [failed(i, "refused", "Connection refused") for i in range(3)], histograms={}
        )
    raise ValueError(name)
