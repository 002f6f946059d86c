"""How late the client was since it was last asked: the engine's histograms count from the start of the session on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import vllmperf._engine as _engine
from vllmperf.service.counts import LAGS, Bins, bins_of

SHARE = 0.99
NS_PER_MS = 1e6


class Lags:
    """Of one session; its turns have the same histograms for up to session.HISTOGRAMS_S."""

    def __init__(self) -> None:
        self._seen: dict[str, _engine.Histogram] = {}
        self._before: dict[str, Bins] = {}
        self.p99_ms: dict[str, float | None] = {f"{name}_ms_p99": None for name in LAGS}
        """Of what came between the last two histograms; None: nothing did."""

    def take(self, histograms: Mapping[str, _engine.Histogram]) -> None:
        """Those of a turn."""
        for name in LAGS:
            histogram = histograms.get(name)
            if histogram is None or histogram is self._seen.get(name):
                continue
            now = bins_of(histogram)
            self.p99_ms[f"{name}_ms_p99"] = _p99_ms(self._before.get(name), now)
            self._seen[name], self._before[name] = histogram, now


def _p99_ms(before: Bins | None, now: Bins) -> float | None:
    """Of what `now` has and `before` had not, to half a bin (csrc/stats/hist.h)."""
    times = now.times.copy()
    if before is not None:
        times[np.searchsorted(now.numbers, before.numbers)] -= before.times
    n = int(times.sum())
    if not n:
        return None
    place = int(np.searchsorted(np.cumsum(times), SHARE * n))
    return float(now.middle_ns[place]) / NS_PER_MS
