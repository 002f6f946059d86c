"""The live figures of a run, from the batches and counters that the engine gives."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import numpy as np

import vllmperf._engine as _engine
from vllmperf.loadgen.progress import Snapshot
from vllmperf.loadgen.saturation import Saturation
from vllmperf.metrics.definitions import per_request
from vllmperf.metrics.view import Rows

NS = 1_000_000_000
COMPLETED = _engine.OUTCOMES.index("completed")


class Snapshots:
    """Turns drained batches and counters into snapshots."""

    def __init__(self, asked: int | None, duration_s: float | None, is_open_loop: bool = False) -> None:
        self._asked, self._duration_s = asked, duration_s
        self._saturation = Saturation() if is_open_loop else None
        self._dtype = np.dtype(_engine.RECORD_DTYPE)
        self._outcomes: Counter[int] = Counter()
        self._ttft = _engine.Histogram()
        self._tokens = 0

    def take(self, batch: _engine.Batch) -> None:
        """Count a batch."""
        records = np.frombuffer(batch["records"], dtype=self._dtype)
        if not len(records):
            return
        counts = np.bincount(records["outcome"]).tolist()
        self._outcomes.update({number: n for number, n in enumerate(counts) if n})
        tokens = records["output_tokens"]
        self._tokens += int(tokens[tokens != _engine.NONE].sum())
        ttft = per_request(Rows(records), "ttft")
        self._ttft.add(ttft[~np.isnan(ttft)])

    def snapshot(self, counters: _engine.Counters, histograms: Mapping[str, _engine.Histogram]) -> Snapshot:
        """The run now."""
        start_ns = counters["start_mono_ns"]
        elapsed_s = max(0.0, (time.monotonic_ns() - start_ns) / NS) if start_ns else 0.0
        if self._saturation is not None:
            self._saturation.take(elapsed_s, counters)
        return Snapshot(
            elapsed_s=elapsed_s,
            asked=self._asked,
            sent=counters["sent"],
            in_flight=counters["in_flight"],
            done=counters["done"],
            completed=counters["completed"],
            errors={
                _engine.OUTCOMES[number]: n for number, n in self._outcomes.items() if number != COMPLETED
            },
            output_tokens_per_s=self._tokens / elapsed_s if elapsed_s > 0 and self._tokens else None,
            ttft_ms_p50=_ms(self._ttft, 0.5),
            ttft_ms_p99=_ms(self._ttft, 0.99),
            client_lag_ms_p99=_ms(histograms["client_lag"], 0.99),
            time_left_s=self._time_left_s(elapsed_s, counters["done"])
            if counters["state"] == "running"
            else None,
            state=counters["state"],
            notice=self._saturation.notice() if self._saturation else None,
        )

    def _time_left_s(self, elapsed_s: float, done: int) -> float | None:
        left = []
        if self._duration_s is not None:
            left.append(max(0.0, self._duration_s - elapsed_s))
        if self._asked and done:
            left.append(elapsed_s / done * max(0, self._asked - done))
        return min(left) if left else None


def _ms(histogram: _engine.Histogram, q: float) -> float | None:
    return histogram.quantile(q) / 1e6 if histogram.count else None
